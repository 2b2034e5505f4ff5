"""Two CAs at the real broker: who gets in, who does not, and what it takes."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.conf import settings as django_settings
from django.core.management import call_command
from django.utils import timezone

from devices import authorities, broker, certificates, pki
from devices.models import Authority, Certificate
from fleetportal.embedded import mosquitto, place, ports
from fleetportal.embedded.program import running
from tests import servers
from tests.devices import peers
from tests.devices.offline import Offline

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ca")]


@pytest.fixture
def home(settings):
    """A broker's folder of this test alone, with everything written; `started` starts the broker on it."""
    with place.temporary() as here:
        settings.BROKER_DIRECTORY = mosquitto.broker_folder(here)
        settings.DEVICE_MQTT_PORT = ports.any_free()
        ports.hold([settings.DEVICE_MQTT_PORT])
        broker.write_all(timezone.now())
        yield here


@contextmanager
def started(home):
    program = mosquitto.server(home, django_settings.DEVICE_MQTT_PORT, ports.any_free(), servers.PASSWORD)
    with running(program, home.own_folder("log")):
        yield program


@pytest.fixture
def server(home):
    with started(home) as program:
        yield program


def revoke(*identities):
    """Revoke within one moment, one list after the other."""
    now = timezone.now()
    for identity in identities:
        certificates.revoke(peers.certificate_of(identity), "stolen", None, now)
        broker.write_all(now)


def issued_by(name, folder):
    """A device enrolled while this CA was the active one."""
    call_command("make_ca", "activate", name)
    return peers.enrolled(folder)


def names():
    call_command("make_ca", "issuing", "--name", "second")
    return Authority.objects.get(kind="issuing", active=True).name, "second"


def test_devices_of_two_cas_connect_and_a_revoked_one_of_each_is_refused_without_a_restart(server, tmp_path):
    first, second = names()
    good, bad = {}, {}
    for name in (first, second):
        good[name], bad[name] = issued_by(name, tmp_path), issued_by(name, tmp_path)
    assert set(Certificate.objects.values_list("authority__name", flat=True)) == {first, second}
    peers.reload(server)
    for identity in (*good.values(), *bad.values()):
        peers.eventually(lambda identity=identity: peers.let_in(identity), what="the second CA's list is read")
    revoke(*bad.values())
    peers.reload(server)
    for identity in bad.values():
        peers.eventually(lambda identity=identity: not peers.let_in(identity), what="refused")
    assert all(map(peers.let_in, good.values()))


def test_the_root_needs_no_list_and_a_ca_without_one_blocks_its_own_devices_only(server, tmp_path):
    """Why a CA's list is written before the CA issues: `install` and `issuing` do, `activate` comes later."""
    assert (django_settings.BROKER_DIRECTORY / "crl.pem").read_text().count("BEGIN X509 CRL") == 1
    mine = peers.enrolled(tmp_path)
    assert peers.let_in(mine)
    _, second = names()
    early = issued_by(second, tmp_path)  # the list is written, but nobody told the broker
    assert not peers.let_in(early)
    assert peers.let_in(mine)
    peers.reload(server)
    peers.eventually(lambda: peers.let_in(early))


def test_two_revocations_within_a_second_are_both_seen(server, tmp_path):
    one, other = peers.enrolled(tmp_path), peers.enrolled(tmp_path)
    now = timezone.now().replace(microsecond=100)
    for later, identity in enumerate([one, other]):
        moment = now + timedelta(microseconds=later)
        certificates.revoke(peers.certificate_of(identity), "stolen", None, moment)
        broker.write_all(moment)
        peers.reload(server)
        peers.eventually(lambda identity=identity: not peers.let_in(identity), what="refused")


def test_a_stolen_cas_devices_are_refused_at_once_and_no_others(server, tmp_path):
    first, second = names()
    thief, mine = issued_by(second, tmp_path), issued_by(first, tmp_path)
    peers.reload(server)
    peers.eventually(lambda: peers.let_in(thief))
    call_command("make_ca", "give-up", second, "--reason", "stolen", "--stolen")
    peers.reload(server)
    peers.eventually(lambda: not peers.let_in(thief), what="refused")
    assert peers.let_in(mine)


def test_a_second_root_needs_no_restart_either(server, tmp_path):
    root, mine = Offline(tmp_path), peers.enrolled(tmp_path)
    call_command("make_ca", "request", "--name", "below the new root", "--out", tmp_path / "x.csr")
    signed = root.sign(tmp_path / "x.csr")
    call_command("make_ca", "install", "--certificate", signed, "--root", root.pem)
    new = issued_by("below the new root", tmp_path)
    assert not peers.let_in(new)
    peers.reload(server)
    peers.eventually(lambda: peers.let_in(new))
    assert peers.let_in(mine)


def test_an_expired_list_blocks_the_devices_of_its_ca_and_no_others(server, tmp_path, settings):
    first, second = names()
    late, mine = issued_by(second, tmp_path), issued_by(first, tmp_path)
    folder, ca = settings.BROKER_DIRECTORY, authorities.open_signer(Authority.objects.get(name=second))
    then = timezone.now() - broker.CRL_LIFETIME - timedelta(seconds=1)
    expired = pki.pem(pki.make_crl(ca.certificate, ca.key, [], 99, broker.CRL_LIFETIME, then))
    good = pki.pem(x509.load_der_x509_crl(broker.crl_der(authorities.signer().row.pk)))
    peers.reload(server)
    peers.eventually(lambda: peers.let_in(late))
    (folder / "crl.pem").write_text(good + expired)
    peers.reload(server)
    peers.eventually(lambda: not peers.let_in(late), what="refused")
    assert peers.let_in(mine)


def test_a_ca_in_hardware_serves_the_broker(home, token, settings, tmp_path):
    settings.CA_KEY_BACKEND = "pkcs11"
    call_command("make_ca", "issuing", "--name", "hardware")
    mine, bad = issued_by("hardware", tmp_path), issued_by("hardware", tmp_path)
    revoke(bad)
    with started(home):
        assert peers.let_in(mine)
        assert not peers.let_in(bad)


def test_the_makers_and_claims_roots_let_nobody_into_the_broker(home, tmp_path):
    maker, key, now = Offline(tmp_path, "Acme devices"), pki.new_key(), timezone.now()
    call_command("make_ca", "maker", "--name", "Acme", "--certificate", maker.pem)
    leaf = pki.sign_device("d-born", key.public_key(), maker.certificate, maker.key, timedelta(days=30), now)
    born = peers.on_disk(tmp_path, "d-born", key, leaf.public_bytes(serialization.Encoding.PEM).decode())
    claim = peers.signed_by(tmp_path, Authority.Kind.CLAIM)
    with started(home):
        assert not peers.let_in(born)
        assert not peers.let_in(claim)
        assert peers.let_in(peers.enrolled(tmp_path))
    assert authorities.signer().row.kind == "issuing"
