"""Makers' CAs: whose devices may join, registered with `manage.py make_ca maker`."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.management import CommandError

from devices import authorities, pki
from devices.models import Authority
from tests.devices.offline import NOW, YEAR, Offline, events, kinds, make_ca


@pytest.fixture
def folder(fresh_ca):
    return fresh_ca


def test_a_makers_ca_is_trusted_by_the_https_door_and_never_by_the_broker(folder, settings):
    maker = Offline(folder, "Acme devices")
    for _ in range(2):
        make_ca("maker", "--name", "Acme", "--certificate", maker.pem)
    assert maker.pem.read_text() in (settings.BROKER_DIRECTORY / "device_https_ca.pem").read_text()
    assert maker.pem.read_text() not in (settings.BROKER_DIRECTORY / "ca.pem").read_text()
    make_ca("maker", "--name", "Other", "--certificate", Offline(folder, "Other devices").pem)
    assert Authority.objects.filter(kind="maker", active=True, key_backend="none").count() == 2
    make_ca("give-up", "Acme", "--reason", "sold")
    assert maker.pem.read_text() not in (settings.BROKER_DIRECTORY / "device_https_ca.pem").read_text()
    assert [event["kind"] for event in events("authority.given_up")] == ["maker"]


def our_root(folder):
    path = folder / "ours.pem"
    path.write_text(Authority.objects.get(kind="root").certificate)
    return path


def our_issuing(folder):
    path = folder / "ours.pem"
    path.write_text(Authority.objects.get(kind="issuing").certificate)
    return path


def below_ours(folder):
    root, key = authorities.signer("root"), pki.new_key()
    path = folder / "below.pem"
    path.write_text(pki.pem(pki.make_issuing("Below", key.public_key(), root.certificate, root.key, YEAR, NOW)))
    return path


def a_device(folder):
    ca, key = authorities.signer(), pki.new_key()
    path = folder / "device.pem"
    path.write_text(pki.pem(pki.sign_device("d-1", key.public_key(), ca.certificate, ca.key, YEAR, NOW)))
    return path


def weak(folder):
    key = rsa.generate_private_key(65537, 1024)
    builder = pki._builder("Weak", key.public_key(), pki.name("Weak"), key.public_key(), NOW + YEAR, NOW)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    path = folder / "weak.pem"
    path.write_text(pki.pem(builder.sign(key, hashes.SHA256())))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (our_root, "is ours"),
        (our_issuing, "is ours"),
        (below_ours, "is ours"),
        (a_device, "not a CA certificate"),
        (weak, "fewer than 2048 bits"),
        (lambda folder: Offline(folder, "Old", YEAR, NOW - 2 * YEAR).pem, "expired on"),
    ],
)
def test_what_is_no_makers_ca_is_refused(folder, make, words):
    before = kinds()
    with pytest.raises(CommandError, match=words):
        make_ca("maker", "--name", "Acme", "--certificate", make(folder))
    assert kinds() == before


def test_one_ca_is_registered_under_one_name(folder):
    maker = Offline(folder, "Acme devices")
    make_ca("maker", "--name", "Acme", "--certificate", maker.pem)
    with pytest.raises(CommandError, match="registered already: 'Acme'"):
        make_ca("maker", "--name", "Bcme", "--certificate", maker.pem)
    with pytest.raises(CommandError, match="There is an authority 'Acme' already"):
        make_ca("maker", "--name", "Acme", "--certificate", Offline(folder, "Another").pem)
