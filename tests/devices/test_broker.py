import os
import stat
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.core.management import call_command
from django.utils import timezone

from devices import broker, contract, pki
from devices.errors import CertificateError
from devices.models import Authority, Device
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
DAY = timedelta(days=1)


@pytest.fixture
def folder(broker_folder):
    return broker_folder


def files():
    lists = {f"crl-{broker.crl_name(row.pk)}.crl" for row in Authority.objects.filter(kind="issuing")}
    return {"ca.pem", "device_https_ca.pem", "server.pem", "server.key", "crl.pem", "acl"} | lists


def identities(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_writes_every_file_readable_by_the_brokers_group_and_by_no_other(folder):
    previous = os.umask(0)
    try:
        broker.write_all(NOW)
    finally:
        os.umask(previous)
    assert {path.name for path in folder.iterdir()} == files()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}


def test_files_that_did_not_change_are_left_alone(folder):
    """The broker is told to read again only for a reason; the list alone is signed afresh."""
    broker.write_all(NOW)
    before = identities(folder)
    broker.write_all(NOW + timedelta(minutes=1))
    after = identities(folder)
    assert {name for name in before if before[name] != after[name]} == {
        name for name in files() if name.startswith("crl")
    }


def test_a_file_is_replaced_in_one_step(folder):
    """Somebody who reads meanwhile has the old file or the new one, never half of one."""
    broker.write_all(NOW)
    with (folder / "crl.pem").open("rb") as reader:
        start = reader.read(10)
        broker.write_all(NOW + timedelta(minutes=1))
        old = start + reader.read()
    assert old.endswith(b"-----END X509 CRL-----\n")
    assert old != (folder / "crl.pem").read_bytes()


def test_nothing_is_written_before_there_is_a_ca(db, settings, tmp_path):
    settings.BROKER_DIRECTORY = tmp_path / "broker"
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()
    with pytest.raises(CertificateError, match="make_ca"):
        broker.write_all(NOW)


def test_the_broker_trusts_the_device_root_alone_and_the_https_door_more(folder):
    broker.write_all(NOW)
    kinds = ("root", "issuing", "claim")
    root, issuing, claim = (Authority.objects.get(kind=kind).certificate for kind in kinds)
    assert (folder / "ca.pem").read_text() == root
    assert (folder / "device_https_ca.pem").read_text() == root + issuing + claim


def test_the_acl_holds_the_contracts_patterns_and_the_quarantined(folder):
    ill = DeviceFactory(state=Device.State.QUARANTINED)
    well = DeviceFactory()
    broker.write_all(NOW)
    lines = (folder / "acl").read_text().splitlines()
    assert set(contract.acl_patterns()) <= set(lines)
    assert f"user {ill.device_id}" in lines
    assert well.device_id not in (folder / "acl").read_text()
    after = lines[lines.index(f"user {ill.device_id}") :]
    assert f"topic deny /+/+/{ill.device_id}/telemetry" in after
    assert f"topic deny /+/+/{ill.device_id}/child/+/status" in after
    assert f"topic deny $aws/things/{ill.device_id}/shadow/#" in after
    open_to_it = {"status", "cmd", "cmd/ack"}
    assert not {f"topic deny /+/+/{ill.device_id}/{name}" for name in open_to_it} & set(after)


def test_every_pattern_is_about_the_devices_own_id(folder):
    assert all("%u" in line.split("/") for line in contract.acl_patterns())
    assert {line.split()[0] for line in contract.acl_patterns()} == {"pattern"}


def server(folder):
    return x509.load_pem_x509_certificates((folder / "server.pem").read_bytes())


def test_the_servers_certificate_is_for_the_names_told_to_devices_with_its_chain(folder, settings):
    settings.DEVICE_MQTT_HOST, settings.DEVICE_HTTPS_URL = "mqtt.example", "https://portal.example:8443/x"
    broker.write_all(NOW)
    leaf, issuing = server(folder)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"mqtt.example", "portal.example", "localhost"}
    leaf.verify_directly_issued_by(issuing)
    key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    assert key.public_key() == leaf.public_key()


@pytest.mark.parametrize(
    ("later", "renewed"), [(timedelta(0), False), (broker.SERVER_LIFETIME - 31 * DAY, False),
                           (broker.SERVER_LIFETIME - 29 * DAY, True)],
)  # fmt: skip
def test_the_servers_certificate_is_renewed_a_month_ahead(folder, later, renewed):
    broker.write_all(NOW)
    before = (folder / "server.pem").read_bytes()
    broker.write_all(NOW + later)
    assert ((folder / "server.pem").read_bytes() != before) is renewed


def test_the_servers_certificate_is_renewed_for_a_new_name(folder, settings):
    broker.write_all(NOW)
    settings.DEVICE_MQTT_HOST = "new.example"
    broker.write_all(NOW)
    names = server(folder)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "new.example" in names.get_values_for_type(x509.DNSName)


def test_a_key_beside_a_certificate_of_another_is_made_good(folder):
    """What a process leaves that was killed between the two files: no server would start with it."""
    broker.write_all(NOW)
    text = pki.new_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.key").write_bytes(text)
    broker.write_all(NOW)
    key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    assert key.public_key() == server(folder)[0].public_key()


def test_the_command_writes_them(folder):
    call_command("write_broker_files")
    assert {path.name for path in folder.iterdir()} == files()
