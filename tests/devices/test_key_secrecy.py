"""A CA key is nowhere in plain text: not on disk, in the database, a log, or the admin."""

import base64
import io
import logging

import pytest
from cryptography.hazmat.primitives import serialization
from django.contrib import admin
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone

from devices import authorities, broker, certificates, pki
from devices.models import Authority, Certificate
from tests.devices import peers
from tests.devices.conftest import PIN
from tests.factories import DeviceFactory

PLAIN = serialization.NoEncryption()


def spellings(key):
    """Every way in which somebody might write a private key by accident."""
    scalar = key.private_numbers().private_value
    raw = scalar.to_bytes(32, "big")
    found = {raw, str(scalar).encode(), f"{scalar:x}".encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        der = key.private_bytes(serialization.Encoding.DER, form, PLAIN)
        pem = key.private_bytes(serialization.Encoding.PEM, form, PLAIN)
        found |= {
            der,
            der.hex().encode(),
            base64.b64encode(der),
            pem.splitlines()[1],
        }  # further lines hold the public half, too
    return found


def leaks(needles, places):
    """Which places hold a needle; white space and the case of hex do not hide one."""
    return [
        name
        for name, content in places.items()
        if any(needle in form for form in (content, content.lower(), b"".join(content.split())) for needle in needles)
    ]


def on_disk(*folders):
    return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def in_database():
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        found = {}
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            found[table] = "\n".join(row for (row,) in cursor.fetchall()).encode()
    assert b"Fleetportal issuing CA 1" in found["devices_authority"]
    return found


def on_pages(client):
    """Every list of this room in the admin, and every authority and certificate."""
    models = [model for model in admin.site._registry if model._meta.app_label == "devices"]
    addresses = [reverse(f"admin:devices_{model._meta.model_name}_changelist") for model in models]
    for model in (Authority, Certificate):
        name = f"admin:devices_{model._meta.model_name}_change"
        addresses += [reverse(name, args=[pk]) for pk in model.objects.values_list("pk", flat=True)]
    found = {address: client.get(address, follow=True) for address in addresses}
    assert {address: page.status_code for address, page in found.items() if page.status_code != 200} == {}
    return {address: page.content for address, page in found.items()}


@pytest.mark.parametrize("backend", ["file", "pkcs11"])
def test_no_ca_key_is_anywhere_in_plain_text(db, settings, tmp_path, token, admin_client, caplog, capfd, backend):
    settings.CA_DIRECTORY, settings.BROKER_DIRECTORY = tmp_path / "ca", tmp_path / "broker"
    settings.CA_KEY_BACKEND = backend
    caplog.set_level(logging.DEBUG)
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()
    now, out = timezone.now(), io.StringIO()
    call_command("make_ca", stdout=out)
    call_command("make_ca", "request", "--name", "next", "--out", tmp_path / "broker.csr", stdout=out)
    call_command("make_ca", "issuing", "--name", f"second {backend}", stdout=out)
    call_command("make_ca", "activate", f"second {backend}", stdout=out)
    row = certificates.issue(DeviceFactory(), pki.read_request(peers.csr().encode()), now)
    certificates.revoke(row, "stolen", None, now)
    broker.write_all(now)
    call_command("make_ca", "list", stdout=out)
    with override_settings(**{"CA_KEY_PASSPHRASE" if backend == "file" else "PKCS11_TOKEN": "a wrong one"}):
        broker.write_all(now)  # a failure must not tell either

    needles = {settings.CA_KEY_PASSPHRASE.encode(), PIN.encode()}
    if backend == "file":
        for each in Authority.objects.all():
            needles |= spellings(authorities.open_signer(each).key)
    else:
        assert not (tmp_path / "ca").exists()
    logs = {
        "log": caplog.text.encode(),
        "stdout": "".join(capfd.readouterr()).encode(),
        "told": out.getvalue().encode(),
    }
    pages, rows = on_pages(admin_client), in_database()
    assert leaks(needles, on_disk(tmp_path, token) | rows | logs | pages) == []
    assert len(pages) > 10
    assert b"ca_key_unavailable" in rows["devices_finding"]


def test_a_leak_would_be_found(tmp_path):
    key = pki.new_key()
    for number, needle in enumerate(spellings(key)):
        assert leaks(spellings(key), {"x": b"before " + needle + b" after"}), number
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, PLAIN)
    assert leaks(spellings(key), {"file": pem, "clean": b"nothing"}) == ["file"]
    assert leaks(spellings(key), {"hex": hex(key.private_numbers().private_value).upper().encode()}) == ["hex"]
