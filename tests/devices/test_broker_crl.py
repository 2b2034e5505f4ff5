"""The revocation lists: what is on them, where they are, and what happens when a key does not open."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from django.core.management import call_command
from django.utils import timezone

from devices import authorities, broker, certificates, pki
from devices.errors import CertificateError
from devices.models import Authority, Event, Finding
from tests.devices import peers
from tests.devices.conftest import away
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
NOW = timezone.now()
DAY = timedelta(days=1)


@pytest.fixture
def folder(broker_folder):
    return broker_folder


def revocations(folder):
    return x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())


def all_lists(folder):
    """Every list in the broker's file, by the name of its issuer."""
    end = "-----END X509 CRL-----\n"
    parts = [part + end for part in (folder / "crl.pem").read_text().split(end) if part.strip()]
    lists = [x509.load_pem_x509_crl(part.encode()) for part in parts]
    return {crl.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value: crl for crl in lists}


def number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@pytest.fixture
def second(folder, settings, tmp_path):
    """A second issuing CA beside the active one; its key can be taken away."""
    with authorities.one_at_a_time():
        made = authorities.make("second", "issuing", authorities.signer("root"), timedelta(days=900), NOW).row
    key = settings.CA_DIRECTORY / f"{made.key_name}.key"
    yield made
    key.unlink(missing_ok=True)


def take_away(settings, row):
    path = settings.CA_DIRECTORY / f"{row.key_name}.key"
    return path.rename(path.with_suffix(".away"))


def findings():
    return list(Finding.objects.filter(resolved_at__isnull=True).values_list("kind", "subject", "severity", "count"))


def revoked_certificate(now=NOW):
    device = DeviceFactory()
    row = certificates.issue(device, pki.read_request(peers.csr().encode()), now)
    certificates.revoke(row, "stolen", None, now)
    return row


def test_each_list_has_a_greater_number_and_the_true_dates(folder):
    row = revoked_certificate(NOW - 3 * DAY)
    broker.write_all(NOW)
    first = revocations(folder)
    broker.write_all(NOW + timedelta(minutes=1))
    second = revocations(folder)
    assert number(second) == number(first) + 1
    assert [(entry.serial_number, entry.revocation_date_utc) for entry in second] == [
        (int(row.serial, 16), (NOW - 3 * DAY).replace(microsecond=0))
    ]
    assert second.is_signature_valid(authorities.signer().key.public_key())


def test_an_expired_certificate_needs_no_place_on_the_list(folder):
    revoked_certificate(NOW - 366 * DAY)
    broker.write_all(NOW)
    assert list(revocations(folder)) == []


def test_a_list_without_entries_is_signed_too(folder):
    broker.write_all(NOW)
    assert revocations(folder).is_signature_valid(authorities.signer().key.public_key())


def test_an_issuing_ca_that_issues_no_more_still_has_its_list(folder, second):
    old = authorities.signer().row
    row = revoked_certificate()
    Authority.objects.filter(pk=old.pk).update(active=False)
    Authority.objects.filter(pk=second.pk).update(active=True)
    broker.write_all(NOW)
    lists = all_lists(folder)
    assert {name: [entry.serial_number for entry in crl] for name, crl in lists.items()} == {
        old.name: [int(row.serial, 16)], "second": [],
    }  # fmt: skip


def test_an_expired_ca_needs_no_list_any_more(folder, second):
    broker.write_all(NOW)
    Authority.objects.filter(pk=second.pk).update(not_after=NOW)
    broker.write_all(NOW)
    assert set(all_lists(folder)) == {authorities.signer().row.name}
    assert broker.crl_expires_at() is not None


def test_each_ca_has_its_list_in_a_file_of_its_own_for_the_public(folder, second):
    row = revoked_certificate()
    broker.write_all(NOW)
    crl = x509.load_der_x509_crl(broker.crl_der(row.authority_id))
    assert [entry.serial_number for entry in crl] == [int(row.serial, 16)]
    assert crl.is_signature_valid(authorities.signer().key.public_key())
    assert list(x509.load_der_x509_crl(broker.crl_der(second.pk))) == []
    assert (folder / f"crl-ca-{second.pk}.crl").read_bytes() == broker.crl_der(second.pk)
    assert pki.pem(crl) in (folder / "crl.pem").read_text(), "the public sees what the broker goes by"


def test_there_is_no_list_of_a_root_or_of_nobody(folder):
    broker.write_all(NOW)
    for pk in (Authority.objects.get(kind="root").pk, 0):
        with pytest.raises(CertificateError) as refusal:
            broker.crl_der(pk)
        assert (refusal.value.code, refusal.value.status) == ("crl_missing", 404)


def test_a_clock_that_was_ahead_does_no_lasting_harm(folder):
    broker.write_all(NOW + 100 * DAY)
    ahead = number(revocations(folder))
    broker.write_all(NOW)
    assert revocations(folder).last_update_utc <= NOW
    assert number(revocations(folder)) == ahead + 1


def test_the_number_grows_after_a_crash_between_file_and_row(folder):
    broker.write_all(NOW)
    before = number(revocations(folder))
    Authority.objects.filter(kind="issuing").update(crl_number=0)
    broker.write_all(NOW)
    assert number(revocations(folder)) == before + 1


def test_the_age_of_the_lists_is_known(folder, second):
    assert broker.crl_expires_at() is None
    assert broker.crl_age(NOW) is None
    broker.write_all(NOW)
    assert broker.crl_expires_at() == (NOW + broker.CRL_LIFETIME).replace(microsecond=0)
    assert timedelta(hours=2) <= broker.crl_age(NOW + timedelta(hours=2)) < timedelta(hours=2, seconds=1)
    broker.withdraw_crl(second.pk)
    assert broker.crl_expires_at() is None
    assert broker.crl_age(NOW) is None


# --- a key that does not open ---------------------------------------------------------------------------------------
def test_one_lost_key_stops_no_other_list(folder, second, settings):
    broker.write_all(NOW)
    kept = broker.crl_der(second.pk)
    take_away(settings, second)
    row = revoked_certificate()
    broker.write_all(NOW + DAY)
    lists = all_lists(folder)
    assert [entry.serial_number for entry in lists[authorities.signer().row.name]] == [int(row.serial, 16)]
    assert broker.crl_der(second.pk) == kept, "the old list stays while it is valid"
    assert "second" in lists
    assert findings() == [("ca_key_unavailable", "second", "critical", 1)]
    assert timedelta(days=1) <= broker.crl_age(NOW + DAY)
    broker.write_all(NOW + DAY)
    assert findings() == [("ca_key_unavailable", "second", "critical", 2)]
    assert "PRIVATE" not in str(Finding.objects.values())
    broker.write_all(NOW + 8 * DAY)
    assert "second" not in all_lists(folder)


def test_a_key_that_opens_again_ends_the_finding(folder, second, settings):
    broker.write_all(NOW)
    gone = take_away(settings, second)
    broker.write_all(NOW)
    gone.rename(gone.with_suffix(".key"))
    broker.write_all(NOW)
    assert findings() == []
    assert number(all_lists(folder)["second"]) == 2


def test_the_active_cas_lost_key_keeps_the_servers_certificate(folder, settings):
    broker.write_all(NOW)
    before = (folder / "server.pem").read_bytes()
    row = authorities.signer().row
    gone = take_away(settings, row)
    try:
        broker.write_all(NOW + 70 * DAY)
        assert (folder / "server.pem").read_bytes() == before
        assert findings() == [("ca_key_unavailable", row.name, "critical", 2)]
        assert (folder / "crl.pem").read_text(), "a broker without any list would not start"
    finally:
        gone.rename(gone.with_suffix(".key"))


def test_a_first_start_without_a_key_fails_aloud_and_is_a_finding(folder, settings):
    gone = take_away(settings, authorities.signer().row)
    try:
        with pytest.raises(CertificateError) as refusal:
            broker.write_all(NOW)
        assert refusal.value.code == "ca_key_unavailable"
        assert findings()
    finally:
        gone.rename(gone.with_suffix(".key"))


def test_a_token_that_is_away_stops_no_other_list(folder, token, settings):
    settings.CA_KEY_BACKEND = "pkcs11"
    with authorities.one_at_a_time():
        row = authorities.make("hardware", "issuing", authorities.signer("root"), timedelta(days=900), NOW).row
    broker.write_all(NOW)
    with away(token):
        broker.write_all(NOW + DAY)
        ages = {name: NOW + DAY - crl.last_update_utc for name, crl in all_lists(folder).items()}
        assert ages[authorities.signer().row.name] < DAY < ages["hardware"]
        assert findings() == [("ca_key_unavailable", "hardware", "critical", 1)]
    broker.write_all(NOW + DAY)
    assert findings() == []
    assert x509.load_der_x509_crl(broker.crl_der(row.pk)).is_signature_valid(authorities.parsed(row).public_key())


def test_a_ca_that_was_given_up_keeps_its_last_list_and_is_no_longer_waited_for(folder, second, settings):
    broker.write_all(NOW)
    take_away(settings, second)
    call_command("make_ca", "give-up", "second", "--reason", "the disk broke")
    assert findings() == []
    assert "second" in all_lists(folder)
    broker.write_all(NOW + 8 * DAY)
    assert "second" not in all_lists(folder)
    assert broker.crl_expires_at() == (NOW + 8 * DAY + broker.CRL_LIFETIME).replace(microsecond=0)
    assert Event.objects.filter(kind="authority.given_up", reason="the disk broke").exists()


def test_a_stolen_cas_list_is_withdrawn(folder, second):
    broker.write_all(NOW)
    call_command("make_ca", "give-up", "second", "--reason", "stolen", "--stolen")
    assert "second" not in all_lists(folder)
    with pytest.raises(CertificateError):
        broker.crl_der(second.pk)
