"""Certificate requests that no door grants, over real TLS."""

import json
import re

import pytest
from cryptography import x509

from devices import pki
from devices.models import Certificate, Device, Finding
from tests.devices import peers
from tests.devices.hostile_requests import CORPUS, made
from tests.devices.ways import counts, refused
from tests.factories import DeviceTypeFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca")]


@pytest.fixture
def kind():
    return DeviceTypeFactory(slug="logger")


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_requests_are_refused_with_a_reason(way, kind, name):
    make, why = CORPUS[name]
    before = counts()
    answer = way.ask(make(), token=peers.claim_token(device_type=kind))
    assert answer.status in (400, 413), answer.text
    assert re.search(why, way.text(answer)) or "csr" in json.loads(answer.body)["errors"], answer.text
    assert counts()[:3] == before[:3]
    assert answer.code in ("csr_refused", "invalid")


def test_a_device_that_renews_gets_nothing_for_a_hostile_request_either(way, tmp_path):
    who = peers.enrolled(tmp_path)
    for make, _ in CORPUS.values():
        answer = way.ask(make(), who, device_type="", hardware_id="")
        assert answer.code in ("csr_refused", "invalid"), answer.text
    assert Certificate.objects.count() == 1


def test_the_key_of_another_device_is_refused_and_found(way, kind, tmp_path):
    key = pki.new_key()
    token = peers.claim_token(device_type=kind)
    assert way.ask(made(key), token=token).status in (200, 201)
    first = Device.objects.get()
    assert refused(way, csr=made(key, subject="hw-2"), token=token, hardware_id="hw-2") == (409, "key_reused")
    finding = Finding.objects.get()
    assert (finding.kind, finding.device) == ("key_reused", first)
    who = peers.enrolled(tmp_path)
    assert refused(way, who, csr=made(key), device_type="", hardware_id="", stores=True) == (409, "key_reused")
    assert Certificate.objects.count() == 2


def test_what_a_request_asks_for_in_extensions_is_not_granted(way, kind):
    asked = x509.SubjectAlternativeName([x509.DNSName("portal.example")])
    assert way.ask(made(pki.new_key(), asked), token=peers.claim_token(device_type=kind)).status in (200, 201)
    leaf = x509.load_pem_x509_certificate(Certificate.objects.get().pem.encode())
    assert leaf.subject == pki.name(Device.objects.get().device_id)
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
