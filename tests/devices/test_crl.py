"""`GET /pki/crl/ca-<n>.crl`, on both webs."""

import hashlib

import pytest
from cryptography import x509
from django.urls import reverse
from django.utils import timezone

from devices import broker
from devices.models import Authority

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("urlconf", ["fleetportal.urls", "fleetportal.device_urls"])
def test_the_revocation_list_is_for_everybody(ca, client, urlconf, settings):
    settings.ROOT_URLCONF = urlconf
    broker.write_all(timezone.now())
    pk = Authority.objects.get(kind="issuing").pk
    url = f"/pki/crl/{broker.crl_name(pk)}.crl"
    assert reverse("crl", args=[str(pk)]) == url
    answer = client.get(url, headers={"Accept": "application/pkix-crl"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/pkix-crl")
    crl = x509.load_der_x509_crl(answer.content)
    assert crl.is_signature_valid(ca.certificate.public_key())
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert not answer.cookies
    for header, value in (
        ("If-None-Match", answer.headers["ETag"]),
        ("If-Modified-Since", answer.headers["Last-Modified"]),
    ):
        again = client.get(url, headers={header: value})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == answer.headers["ETag"]
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["ca-999999", "ca-0", "ca-999999999999999999"])
def test_an_authority_without_a_list_is_404(ca, client, name):
    answer = client.get(f"/pki/crl/{name}.crl", headers={"Accept": "application/pkix-crl"})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "crl_missing")


@pytest.mark.parametrize("name", ["ca-", "ca-x", "ca-1/../ca-1", "ca-%2e%2e", "ca-" + "9" * 300, "ca-١"])
def test_other_names_are_no_lists(ca, client, name):
    assert client.get(f"/pki/crl/{name}.crl").status_code == 404
