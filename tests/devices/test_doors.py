"""Both doors by which a device gets a certificate, over real TLS: who is let in, and who is refused."""

import shutil
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from devices import certificates, claims, pki
from devices.models import Certificate, Claim, Device, Finding
from tests.devices import https_door as https
from tests.devices import peers
from tests.devices.hostile_requests import made
from tests.devices.makers import Maker
from tests.devices.test_broker_admission import below_a_device, foreign, of_a_server
from tests.devices.ways import Est, Json, claim_certificate, counts, known, refused
from tests.factories import DeviceTypeFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca")]
DAY = timedelta(days=1)


@pytest.fixture
def kind():
    return DeviceTypeFactory(slug="logger")


# --- who is let in --------------------------------------------------------------------------------------------------
def test_a_token_a_claim_certificate_and_a_devices_own_are_good(way, kind, tmp_path):
    assert way.ask(token=peers.claim_token(device_type=kind)).status in (200, 201)
    claim, who = claim_certificate(tmp_path, kind)
    assert way.ask(who=who, hardware_id="hw-2").status in (200, 201)
    claim.refresh_from_db()
    assert (claim.uses, Device.objects.get(hardware_id="hw-2").attested) == (1, False)
    mine = peers.enrolled(tmp_path)
    before = Device.objects.count()
    assert way.ask(who=mine, hardware_id="", device_type="").status == 200
    device = Device.objects.get(device_id=mine.device_id)
    assert (Device.objects.count(), device.certificates.count()) == (before, 2)
    assert sorted(device.certificates.values_list("state", flat=True)) == ["active", "pending"]


def test_the_claim_tells_the_type_where_nobody_says_it(way, kind, tmp_path):
    assert way.ask(token=peers.claim_token(device_type=kind), device_type="").status in (200, 201)
    _, who = claim_certificate(tmp_path, kind)
    assert way.ask(who=who, device_type="", hardware_id="hw-2").status in (200, 201)
    assert set(Device.objects.values_list("device_type__slug", flat=True)) == {"logger"}


def test_the_same_request_gets_the_same_certificate(way, kind, tmp_path):
    _, who = claim_certificate(tmp_path, kind)
    csr = made(pki.new_key())
    answers = [way.ask(csr, who) for _ in range(2)]
    assert {answer.status for answer in answers} <= {200, 201}
    assert Certificate.objects.count() == 1
    own = peers.enrolled(tmp_path)
    again = [way.ask(csr := made(pki.new_key()), own, device_type="", hardware_id="").status]
    again.append(way.ask(csr, own, device_type="", hardware_id="").status)
    assert (again, Certificate.objects.count()) == ([200, 200], 3)


def test_an_expired_certificate_passes_tls_and_gets_the_next_one_within_the_grace(way, tmp_path):
    """OpenSSL would refuse it by the dates in it: the portal judges."""
    now = timezone.now()
    nobodys = peers.signed_by(tmp_path, "issuing", now=now - 10 * DAY, days=9)
    assert refused(way, nobodys) == (401, "certificate_expired")
    who, row = known(tmp_path, now - 10 * DAY)
    assert way.ask(who=who, device_type="", hardware_id="").status == 200
    assert Finding.objects.get(kind="expired_certificate_used").device == row.device
    row.refresh_from_db()
    assert (row.first_seen_at, row.device.certificates.count()) == (None, 2)


def test_after_the_grace_an_expired_certificate_is_good_for_nothing(way, tmp_path):
    who, _ = known(tmp_path, timezone.now() - 50 * DAY)
    assert refused(way, who, device_type="", hardware_id="") == (403, "certificate_expired")


# --- who is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [foreign, of_a_server, below_a_device], ids=lambda make: make.__name__)
def test_tls_refuses_certificates_that_none_of_our_authorities_made_for_clients(way, kind, tmp_path, make):
    who = make(tmp_path)
    before = counts()
    with pytest.raises(OSError):
        way.ask(who=who)
    assert counts() == before
    assert way.ask(token=peers.claim_token(device_type=kind)).status in (200, 201), "the door still stands"


def test_nobody_is_told_what_to_send(way, kind):
    assert refused(way) == (401, "claim_missing")
    assert refused(way, csr=b"") == (401, "claim_missing"), "before anything else is looked at"
    assert way.ask().headers["WWW-Authenticate"] == ('Basic realm="est"' if isinstance(way, Est) else None)


@pytest.mark.parametrize("signer", ["issuing", "claim"])
def test_a_certificate_of_ours_that_nobody_knows_is_refused(way, kind, tmp_path, signer):
    assert refused(way, peers.signed_by(tmp_path, signer)) == (401, "certificate_unknown")
    assert not Finding.objects.exists()


def test_a_revoked_certificate_is_refused_and_found(way, kind, tmp_path):
    who = peers.enrolled(tmp_path)
    certificates.revoke(Certificate.objects.get(), "stolen", None, timezone.now())
    assert refused(way, who) == (401, "certificate_revoked")
    assert Finding.objects.get().kind == "revoked_certificate_used"


def test_a_certificate_that_is_not_yet_valid_is_refused(way, kind, tmp_path):
    who, _ = known(tmp_path, timezone.now() + 2 * DAY)
    assert refused(way, who) == (401, "certificate_not_yet_valid")


@pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
def test_a_device_that_is_not_active_is_refused(way, tmp_path, state):
    who = peers.enrolled(tmp_path)
    Device.objects.update(state=state)
    assert refused(way, who) == (403, "device_not_active")


def test_a_forged_header_is_refused_and_found(way, kind):
    token = peers.claim_token(device_type=kind)
    path = https.PROVISION if isinstance(way, Json) else "/.well-known/est/simpleenroll"
    before = counts()
    answer = way.door.ask("POST", path, b"", Client_Cert=":AAAA:", Authorization=f"Bearer {token}")
    assert (answer.status, answer.code, counts()) == (400, "forged_header", before)
    finding = Finding.objects.get()
    assert (finding.kind, finding.subject, finding.device) == ("forged_header", "127.0.0.1", None)


def test_claims_that_do_not_admit_say_why(way, kind, tmp_path):
    """The same for its token and for its certificate."""
    claim, who = claim_certificate(tmp_path, kind, hardware_ids=["hw-9"])
    assert refused(way, who) == (403, "claim_other_hardware")
    assert refused(way, who, device_type="pump", hardware_id="hw-9") == (403, "claim_other_type")
    Claim.objects.filter(pk=claim.pk).update(max_devices=0)
    assert refused(way, who, hardware_id="hw-9") == (403, "claim_used_up")
    Claim.objects.filter(pk=claim.pk).update(expires_at=timezone.now())
    assert refused(way, who, hardware_id="hw-9") == (403, "claim_expired")
    Claim.objects.filter(pk=claim.pk).update(revoked_at=timezone.now())
    assert refused(way, who, hardware_id="hw-9") == (403, "claim_revoked")
    token = peers.claim_token(device_type=kind, max_devices=0)
    assert refused(way, token=token) == (403, "claim_used_up")
    assert refused(way, token=token + "x") == (401, "claim_unknown")


def test_a_claim_certificate_that_expired_says_so(way, kind, tmp_path):
    _, who = claim_certificate(tmp_path, kind, now=timezone.now() - 2 * DAY)
    assert refused(way, who) == (403, "claim_expired")


def test_two_credentials_are_one_too_many(way, kind, tmp_path):
    token = peers.claim_token(device_type=kind)
    _, who = claim_certificate(tmp_path, kind)
    assert refused(way, who, token=token) == (400, "two_credentials")
    assert refused(way, peers.enrolled(tmp_path), token=token, stores=True) == (400, "two_credentials")


def test_a_device_renews_as_itself_only(way, kind, tmp_path):
    who = peers.enrolled(tmp_path)
    way.ask(who=who, device_type="", hardware_id="")
    assert refused(way, who, device_type="logger") == (403, "other_device_type")
    device = Device.objects.get()
    assert way.ask(who=who, device_type=device.device_type.slug, hardware_id=device.hardware_id).status == 200
    if isinstance(way, Json):  # in EST the request's subject says nothing about a device that is known
        assert refused(way, who, device_type="", hardware_id="hw-9") == (403, "other_hardware_id")


def test_a_name_is_needed_where_the_claim_does_not_know_it(way, kind):
    token = peers.claim_token(device_type=kind)
    assert refused(way, csr=made(pki.new_key(), subject=""), token=token, hardware_id="") == (400, "hardware_id")


# --- devices born with a certificate --------------------------------------------------------------------------------
@pytest.fixture
def maker(kind):
    """A maker whose loggers may join."""
    return Maker("logger")


@pytest.fixture
def chip_door(maker, tmp_path):
    """A door that trusts the maker, too."""
    folder = tmp_path / "broker"
    shutil.copytree(settings.BROKER_DIRECTORY, folder)
    with (folder / "device_https_ca.pem").open("a") as file:
        file.write(maker.row.certificate)
    with https.opened(tmp_path / "log", BROKER_DIRECTORY=str(folder)) as door:
        yield door


def test_a_device_born_with_a_certificate_joins_with_it(maker, chip_door, tmp_path):
    for number, make in enumerate([Json, Est]):
        way = make(chip_door)
        key = pki.new_key()
        certificate = maker.born(name=f"SN-{number}", key=key)
        who = peers.on_disk(tmp_path, "", key, pki.pem(certificate))
        assert refused(way, who, hardware_id="SN-9") == (403, "other_hardware_id")
        assert refused(way, who, hardware_id=f"SN-{number}", device_type="pump") == (403, "claim_other_type")
        answer = way.ask(who=who, hardware_id=f"SN-{number}" if number else "", device_type="")
        assert answer.status in (200, 201), answer.text
        device = Device.objects.get(hardware_id=f"SN-{number}")
        assert (device.attested, device.claim.kind) == (True, "maker")
        # A token beside it says whose device it becomes; that it is genuine, the certificate says.
        key = pki.new_key()
        who = peers.on_disk(tmp_path, "", key, pki.pem(maker.born(name=f"SN-1{number}", key=key)))
        claim = claims.of_token(token := peers.claim_token(device_type=device.device_type))
        assert way.ask(who=who, hardware_id=f"SN-1{number}", token=token).status in (200, 201)
        device = Device.objects.get(hardware_id=f"SN-1{number}")
        assert (device.attested, device.tenant, device.claim) == (True, claim.tenant, claim)
