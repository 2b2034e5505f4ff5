"""The header Client-Cert: believed from proxies of ours, and from nobody else."""

import pytest

from devices import callers
from devices.models import Finding
from tests.devices.test_callers import NOW, PROXIES, PROXY, issued, nginx, over_tls, refusal, request, rfc9440

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ca")]


@pytest.fixture(autouse=True)
def proxies(settings):
    settings.CLIENT_CERTIFICATE_PROXIES = PROXIES


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("10.2.0.1", "10.2.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "a local socket"),
    ],
)
def test_the_header_from_anywhere_else_is_refused_and_found(address, subject):
    certificate, row = issued()
    for _ in range(2):
        assert refusal(request(rfc9440(certificate), address)) == ("forged_header", 400)
    finding = Finding.objects.get()
    assert (finding.kind, finding.device, finding.subject, finding.count) == ("forged_header", None, subject, 2)
    row.refresh_from_db()
    assert row.first_seen_at is None


def test_findings_of_forged_headers_do_not_grow_with_the_addresses_of_one_network():
    for number in range(5):
        assert refusal(request("", f"2001:db8::{number}")) == ("forged_header", 400)
    assert Finding.objects.get().count == 5


def test_a_header_beside_a_certificate_of_ones_own_is_forged_all_the_same():
    certificate, _ = issued()
    asked = over_tls(certificate)
    asked.META["HTTP_CLIENT_CERT"] = rfc9440(certificate)
    assert refusal(asked) == ("forged_header", 400)


@pytest.mark.parametrize("address", ["10.1.255.255", "::ffff:10.1.0.1", "fd00::1"])
def test_a_proxy_may_have_any_address_of_the_setting(address):
    certificate, row = issued()
    assert callers.identify(request(rfc9440(certificate), address), NOW).certificate == row


def test_a_proxys_own_certificate_is_not_its_clients():
    """Between proxy and portal there may be TLS with certificates, too."""
    certificate, _ = issued()
    assert callers.identify(over_tls(certificate, PROXY), NOW) == callers.Nobody()


GARBAGE = {
    "a word": "yes",
    "a DN": "CN=d-1,O=Acme",
    "one colon": ":",
    "two colons": "::",
    "bad Base64": ":a*b:",
    "not a certificate": ":AAAA:",
    "unescaped PEM, cut": "-----BEGIN CERTIFICATE-----",
    "bad escapes": "%ZZ%",
    "NUL": "%00",
    "huge": ":" + "A" * 40_000 + ":",
    "not ASCII": ":é:",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_from_a_proxy_is_refused(name):
    assert refusal(request(GARBAGE[name])) == ("bad_certificate", 400)


def test_two_headers_are_refused():
    """Django joins them with a comma: one of them may be the client's."""
    certificate, _ = issued()
    text = rfc9440(certificate)
    assert refusal(request(f"{text},{text}")) == ("bad_certificate", 400)
    assert refusal(request(f"{nginx(certificate)},{nginx(certificate)}")) == ("bad_certificate", 400)
