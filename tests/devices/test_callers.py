"""Who is calling: judged by the certificate's row, whatever brought it. TLS itself is tried in test_doors.py."""

import base64
import urllib.parse
from datetime import timedelta
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.request import Request

from devices import authorities, callers, certificates, claims, pki
from devices.errors import CertificateError
from devices.models import Authority, Certificate, Device, Event, Finding
from tests.devices import peers
from tests.devices.makers import Maker
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ca")]
NOW = timezone.now()
DAY = timedelta(days=1)
PROXY, PROXIES = "10.1.2.3", [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]


@pytest.fixture(autouse=True)
def proxies(settings):
    settings.CLIENT_CERTIFICATE_PROXIES = PROXIES


def rfc9440(certificate):
    return f":{base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()}:"


def nginx(certificate):
    return urllib.parse.quote(pki.pem(certificate), safe="")


def request(header=None, address=PROXY):
    extra = {"HTTP_CLIENT_CERT": header} if header is not None else {}
    return RequestFactory().get("/", REMOTE_ADDR=address, **extra)


def over_tls(certificate, address="192.0.2.7"):
    """As uvicorn puts it into the scope."""
    made = request(address=address)
    made.scope = {"extensions": {"tls": {"client_cert_chain": [pki.pem(certificate)] if certificate else []}}}
    return made


def issued(device=None, key=None):
    """A device's certificate and its row."""
    csr = pki.read_request(peers.csr(key).encode())
    row = certificates.issue(device or DeviceFactory(), csr, NOW)
    return x509.load_pem_x509_certificate(row.pem.encode()), row


def refusal(asked, now=NOW, **options):
    with pytest.raises(CertificateError) as error:
        callers.identify(asked, now, **options)
    return error.value.code, error.value.status


def test_nobody_without_a_certificate():
    assert callers.identify(request(address="192.0.2.7"), NOW) == callers.Nobody()
    assert callers.identify(over_tls(None), NOW) == callers.Nobody()
    assert callers.identify(request(), NOW) == callers.Nobody(), "a proxy's request without the header"
    assert callers.identify(request(""), NOW) == callers.Nobody(), "a proxy that always sends the header"


@pytest.mark.parametrize("way", ["tls", "RFC 9440", "nginx"])
def test_a_device_is_known_by_its_certificate_whatever_brought_it(way):
    certificate, row = issued()
    asked = {
        "tls": lambda: over_tls(certificate),
        "RFC 9440": lambda: request(rfc9440(certificate)),
        "nginx": lambda: request(nginx(certificate)),
    }[way]()
    assert callers.identify(asked, NOW) == callers.DeviceCaller(row)


def test_it_takes_requests_of_the_rest_framework_too():
    certificate, row = issued()
    assert callers.identify(Request(request(rfc9440(certificate))), NOW) == callers.DeviceCaller(row)
    assert callers.identify(Request(over_tls(certificate)), NOW) == callers.DeviceCaller(row)


def test_a_device_that_calls_has_proven_its_certificate():
    device = DeviceFactory()
    _, before = issued(device)
    certificate, row = issued(device)
    certificates.seen(before, "A birth", NOW)
    callers.identify(over_tls(certificate), NOW)
    row.refresh_from_db()
    before.refresh_from_db()
    assert (row.state, row.first_seen_at, before.state) == ("active", NOW, "retiring")
    assert Event.objects.filter(kind="certificate.proven", device=device).count() == 2


def test_steady_use_is_noted_once_a_minute(django_assert_num_queries):
    certificate, row = issued()
    callers.identify(over_tls(certificate), NOW)
    with django_assert_num_queries(1):
        callers.identify(over_tls(certificate), NOW + timedelta(seconds=59))
    callers.identify(over_tls(certificate), NOW + timedelta(seconds=60))
    row.refresh_from_db()
    assert row.last_seen_at == NOW + timedelta(seconds=60)


def test_a_device_that_falls_back_to_its_old_certificate_is_noticed_at_once():
    device = DeviceFactory()
    old, _ = issued(device)
    new, _ = issued(device)
    for certificate in old, new, old:
        callers.identify(over_tls(certificate), NOW)
    assert Finding.objects.get().kind == "certificate_fell_back"


def test_a_revoked_certificate_is_refused_and_found():
    certificate, row = issued()
    certificates.revoke(row, "stolen", None, NOW)
    assert refusal(over_tls(certificate)) == ("certificate_revoked", 401)
    finding = Finding.objects.get()
    assert (finding.kind, finding.device) == ("revoked_certificate_used", row.device)
    assert refusal(over_tls(certificate), recovering=True) == ("certificate_revoked", 401)


def test_time_is_judged_by_our_clock_and_a_refused_certificate_is_not_promoted():
    certificate, row = issued()
    assert refusal(over_tls(certificate), row.not_after) == ("certificate_expired", 401)
    assert refusal(over_tls(certificate), row.not_before - DAY) == ("certificate_not_yet_valid", 401)
    row.refresh_from_db()
    assert (row.state, row.first_seen_at) == ("pending", None)
    assert callers.identify(over_tls(certificate), row.not_after - timedelta(seconds=1)).certificate == row


def test_an_expired_certificate_is_let_through_where_the_door_renews_and_is_not_promoted():
    certificate, row = issued()
    caller = callers.identify(over_tls(certificate), row.not_after, recovering=True)
    assert caller == callers.DeviceCaller(row, expired=True)
    row.refresh_from_db()
    assert row.first_seen_at is None


@pytest.mark.parametrize("state", ["quarantined", "decommissioned", "registered"])
def test_a_device_that_is_not_active_is_refused_and_its_certificate_not_promoted(state):
    certificate, row = issued()
    Device.objects.update(state=state)
    assert refusal(over_tls(certificate)) == ("device_not_active", 403)
    assert refusal(over_tls(certificate), recovering=True) == ("device_not_active", 403)
    row.refresh_from_db()
    assert row.first_seen_at is None


def test_a_certificate_of_ours_that_no_row_knows_is_unknown_and_stores_nothing():
    ca, key = authorities.signer(), pki.new_key()
    stranger = pki.sign_device("d-stranger", key.public_key(), ca.certificate, ca.key, DAY, NOW)
    assert refusal(over_tls(stranger)) == ("certificate_unknown", 401)
    assert refusal(request(rfc9440(stranger))) == ("certificate_unknown", 401)
    assert not Certificate.objects.exists() and not Finding.objects.exists() and not Event.objects.exists()


def test_a_certificate_with_the_name_of_a_device_but_of_another_ca_is_unknown():
    """A proxy may not have verified the chain: the name in a certificate counts for nothing."""
    _, row = issued()
    key = pki.new_key()
    root = pki.make_root("Fleetportal device root", key, DAY, NOW)
    forged = pki.sign_device(row.device.device_id, pki.new_key().public_key(), root, key, DAY, NOW)
    assert refusal(request(nginx(forged))) == ("certificate_unknown", 401)


def test_a_claim_certificate_is_its_claim():
    kind = DeviceTypeFactory()
    claim, secret = claims.make_claim(
        tenant=TenantFactory(), device_type=kind, name="c", max_devices=1, lifetime=DAY, now=NOW, kind="certificate"
    )
    certificate = x509.load_pem_x509_certificate(claim.certificate.encode())
    assert secret.endswith(claim.certificate)
    assert callers.identify(over_tls(certificate), NOW) == callers.ClaimCaller(claim)


# --- devices born with a certificate --------------------------------------------------------------------------------
def test_a_device_born_with_a_certificate_is_known_by_its_maker():
    certificate = Maker("logger").born()
    assert callers.identify(over_tls(certificate), NOW) == callers.MakerCaller(certificate, "SN-0001")


def test_a_makers_device_is_known_even_where_several_claims_admit_it():
    certificate = Maker("logger", "pump").born()
    assert callers.identify(over_tls(certificate), NOW) == callers.MakerCaller(certificate, "SN-0001")


@pytest.mark.parametrize("usage", [[ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]])
def test_a_makers_certificate_for_clients_is_good(usage):
    certificate = Maker("logger").born(usage=usage)
    assert callers.identify(over_tls(certificate), NOW).hardware_id == "SN-0001"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"usage": [ExtendedKeyUsageOID.SERVER_AUTH]}, "certificate_unknown"),
        ({"ca": True}, "certificate_unknown"),
        ({"until": NOW}, "certificate_expired"),
        ({"since": NOW + timedelta(seconds=1)}, "certificate_not_yet_valid"),
    ],
)
def test_other_certificates_of_a_maker_are_refused(changes, code):
    maker = Maker("logger")
    assert refusal(request(rfc9440(maker.born(**changes)))) == (code, 401)
    assert refusal(request(rfc9440(maker.certificate))) == ("certificate_unknown", 401)


def test_a_maker_without_a_claim_or_given_up_is_unknown():
    maker = Maker()
    assert refusal(over_tls(maker.born())) == ("certificate_unknown", 401)
    other = Authority.objects.filter(pk=maker.row.pk)
    claims.make_claim(
        tenant=TenantFactory(), device_type=DeviceTypeFactory(), name="c", max_devices=9, lifetime=DAY, now=NOW,
        kind="maker", maker=maker.row,
    )  # fmt: skip
    assert callers.identify(over_tls(maker.born()), NOW)
    other.update(active=False)
    assert refusal(over_tls(maker.born())) == ("certificate_unknown", 401)
