"""`manage.py make_ca`: what it shows, and what a start-up does by it."""

import pytest
from django.core.management import CommandError

from devices import broker, certificates, pki
from devices.models import Authority, Event, Renewal
from tests.devices import peers
from tests.devices.offline import NOW, Offline, kinds, make_ca
from tests.factories import DeviceFactory


@pytest.fixture
def folder(fresh_ca):
    return fresh_ca


@pytest.fixture
def empty(folder):
    Authority.objects.all().update(issued_by=None)
    Authority.objects.all().delete()
    return folder


def test_the_list_says_which_keys_open(folder, settings):
    make_ca("issuing", "--name", "Issuing CA 2")
    row = Authority.objects.get(name="Issuing CA 2")
    (settings.CA_DIRECTORY / f"{row.key_name}.key").unlink()
    lines = make_ca("list").splitlines()
    [second] = [line for line in lines if "Issuing CA 2" in line]
    [first] = [line for line in lines if "issuing CA 1" in line]
    assert "key: file, CANNOT BE OPENED" in second
    assert "active" in first
    assert "key: file, opens" in first
    assert sum("SHA-256" in line for line in lines) == 4


def test_the_list_says_how_many_certificates_use_a_ca_and_how_long_its_list_is_good(folder):
    assert "certificates in use: 0; revocation list MISSING" in make_ca("list")
    first, second = (certificates.issue(DeviceFactory(), pki.read_request(peers.csr().encode()), NOW) for _ in range(2))
    certificates.revoke(second, "stolen", None, NOW)
    broker.write_all(NOW)
    assert f"certificates in use: 1; revocation list of {NOW - pki.CLOCK_SKEW:%F %R}, until " in make_ca("list")
    assert first.authority == second.authority


def test_devices_of_one_ca_are_asked_for_new_certificates(folder):
    def issued(state="active"):
        return certificates.issue(DeviceFactory(state=state), pki.read_request(peers.csr().encode()), NOW)

    of_first = {issued().pk for _ in range(2)}
    issued("decommissioned")
    make_ca("issuing", "--name", "second")
    make_ca("activate", "second")
    issued()
    told = make_ca("renew", "Fleetportal issuing CA 1", "--reason", "its key is lost")
    assert told.startswith("2 devices will be asked")
    assert set(Renewal.objects.values_list("certificate", flat=True)) == of_first
    assert Event.objects.get(kind="renewal.requested").reason == "its key is lost"
    with pytest.raises(CommandError, match="no such authority 'third'"):
        make_ca("renew", "third", "--reason", "x")


def test_a_start_up_makes_no_online_root_while_an_offline_one_is_on_its_way(empty):
    make_ca("request", "--name", "Issuing CA 1", "--out", empty / "issuing.csr")
    with pytest.raises(CommandError, match="waits for the ceremony"):
        make_ca("--if-missing")
    assert kinds() == []
    root = Offline(empty)
    make_ca("install", "--certificate", root.sign(empty / "issuing.csr"), "--root", root.pem)
    before = kinds()
    make_ca("--if-missing")
    assert kinds() == before


def test_who_decides_otherwise_may_still_have_it_all_online(empty):
    make_ca("request", "--name", "Issuing CA 1", "--out", empty / "issuing.csr")
    make_ca()
    assert len(kinds()) == 3


def test_a_maker_that_is_registered_first_is_not_taken_for_a_ca(folder):
    maker = Offline(folder, "Acme devices")
    make_ca("maker", "--name", "Acme", "--certificate", maker.pem)
    Authority.objects.exclude(kind="maker").update(issued_by=None)
    Authority.objects.exclude(kind="maker").delete()
    make_ca("--if-missing")
    assert [kind for kind, _, _ in kinds()] == ["claim", "issuing", "maker", "root"]
