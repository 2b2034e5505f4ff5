"""EST: the operations, and an unmodified client, strongSwan's `pki`. More: test_doors.py, test_devices_page.py."""

import base64
import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7
from django.urls import Resolver404, resolve
from django.utils import timezone

from devices import approvals, est, est_wire, pki
from devices.models import Approval, Authority, Certificate, Device
from tests.devices import peers
from tests.devices.hostile_requests import der, made
from tests.factories import DeviceTypeFactory, UserFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca")]
ROOT = Path(__file__).resolve().parents[2]
EST = "/.well-known/est"
CACERTS, CSRATTRS, ENROLL, REENROLL = (
    f"{EST}/{name}" for name in ("cacerts", "csrattrs", "simpleenroll", "simplereenroll")
)


@pytest.fixture
def kind():
    return DeviceTypeFactory(slug="logger")


@pytest.fixture
def token(kind):
    return peers.claim_token(device_type=kind)


def basic(token, user=None):
    user = token[:12] if user is None else user
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


def certificates_in(answer):
    """What an answer of either kind holds; on one line, as strongSwan's client wants it."""
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Transfer-Encoding"] == "base64"
    assert re.fullmatch(rb"[A-Za-z0-9+/]+=*", answer.body)
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.body))


# --- the operations -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("label", ["", "/logger"])
def test_cacerts_gives_everybody_the_root_and_the_issuing_ca(https_door, kind, label):
    answer = https_door.ask("GET", f"{EST}{label}/cacerts")
    assert answer.headers["Content-Type"] == "application/pkcs7-mime"
    assert {pki.pem(each) for each in certificates_in(answer)} == set(
        Authority.objects.filter(kind__in=["root", "issuing"]).values_list("certificate", flat=True)
    )


def test_csrattrs_asks_for_nothing(https_door):
    answer = https_door.ask("GET", CSRATTRS)
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize("path", [ENROLL, REENROLL, f"{EST}/logger/simpleenroll"])
def test_enrolment_answers_with_the_issued_certificate_alone(https_door, token, path):
    answer = https_door.ask("POST", path, base64.b64encode(der(made(pki.new_key()))), Authorization=basic(token))
    assert answer.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    [leaf] = certificates_in(answer)
    assert pki.pem(leaf) == Certificate.objects.get().pem
    device = Device.objects.get()
    assert (device.hardware_id, device.device_type.slug, device.attested) == ("hw-1", "logger", False)


WRITTEN = {
    "Base64 on one line": lambda pem: base64.b64encode(der(pem)),
    "Base64 with line breaks": lambda pem: base64.encodebytes(der(pem)),
    "Base64 with CRLF": lambda pem: base64.encodebytes(der(pem)).replace(b"\n", b"\r\n"),
    "PEM": lambda pem: pem,
    "PEM after empty lines": lambda pem: b"\r\n\n" + pem,
    "DER": der,
}


@pytest.mark.parametrize("how", WRITTEN)
def test_takes_requests_however_clients_write_them(https_door, token, how):
    answer = https_door.ask("POST", ENROLL, WRITTEN[how](made(pki.new_key())), Authorization=basic(token))
    assert len(certificates_in(answer)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept": "application/pkcs7-mime"},
        {"Accept": "text/html;q=0.1"},
        {"Content_Type": "application/pkcs10", "Content_Transfer_Encoding": "base64"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "nonsense"},
    ],
)
def test_nothing_is_negotiated(https_door, token, headers):
    body = base64.b64encode(der(made(pki.new_key())))
    assert https_door.ask("POST", ENROLL, body, Authorization=basic(token), **headers).status == 200
    refusal = https_door.ask("POST", ENROLL, body, **headers)
    assert (refusal.status, refusal.headers["Content-Type"]) == (401, "text/plain; charset=utf-8")


@pytest.mark.parametrize("user", ["", "prefix"])
def test_the_user_name_is_the_claims_id_or_empty(https_door, token, user):
    answer = https_door.ask("POST", ENROLL, made(pki.new_key()), Authorization=basic(token, user and token[:12]))
    assert answer.status == 200


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Basic", "claim_missing"),
        ("Basic ???", "claim_missing"),
        ("Basic //79", "claim_missing"),
        ("Basic " + base64.b64encode(b"no colon").decode(), "claim_unknown"),
        ("Bearer {token}", "claim_missing"),
        ("{somebody}", "claim_unknown"),
        ("{wrong}", "claim_unknown"),
        ("Basic " + base64.b64encode(b":fpc_\0").decode(), "claim_unknown"),
        ("Basic " + base64.b64encode(b"a:" + b"x" * 9000).decode(), "claim_unknown"),
    ],
)
def test_other_credentials_are_401_with_a_challenge(https_door, token, authorization, code):
    told = {"token": token, "somebody": basic(token, "fpc_another1"), "wrong": basic(token + "x")}
    answer = https_door.ask("POST", ENROLL, made(pki.new_key()), Authorization=authorization.format(**told))
    assert (answer.status, answer.code) == (401, code)
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="est"'
    assert not Device.objects.exists()


def test_a_wrong_label_is_said_clearly(https_door, token):
    for name in "cacerts", "csrattrs":
        answer = https_door.ask("GET", f"{EST}/pump/{name}")
        assert (answer.status, answer.text) == (404, "There is no device type 'pump'. (unknown_label)\n")
    answer = https_door.ask("POST", f"{EST}/pump/simpleenroll", made(pki.new_key()), Authorization=basic(token))
    assert (answer.status, answer.text) == (403, "This claim is for devices of type 'logger'. (claim_other_type)\n")


def test_other_methods_and_paths_are_refused(https_door):
    answer = https_door.ask("GET", ENROLL)
    assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "method_not_allowed", "POST, OPTIONS")
    assert https_door.ask("POST", CACERTS, b"").status == 405
    assert https_door.ask("GET", f"{EST}/serverkeygen").status == 404


@pytest.mark.parametrize("size", [est.MAX_BODY + 1, 200_000])
def test_a_long_body_is_refused(https_door, token, size):
    answer = https_door.ask("POST", ENROLL, b"A" * size, Authorization=basic(token))
    assert (answer.status, answer.code) == (413, "csr_refused")
    chunks = https_door.ask("POST", ENROLL, iter([b"A" * size]), Authorization=basic(token))
    assert (chunks.status, chunks.code) == (413, "csr_refused")


def test_who_asks_too_often_is_told_when_to_come_back(client, kind, settings, monkeypatch):
    settings.ROOT_URLCONF = "fleetportal.device_urls"
    monkeypatch.setattr(est.EstView.throttle_classes[0], "THROTTLE_RATES", {"est": "2/min"})
    assert [client.get(CSRATTRS).status_code for _ in range(3)] == [204, 204, 429]
    answer = client.get(CACERTS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "text/plain; charset=utf-8")
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_people_have_no_est_on_their_web(settings):
    settings.ROOT_URLCONF = "fleetportal.urls"
    with pytest.raises(Resolver404):
        resolve(CACERTS)


@pytest.mark.parametrize("body", [b"", b"=", b"A", b"\xff\xfe", b"MII", b"0", b"-----BEGIN", b"\x30\x80"])
def test_what_is_no_request_comes_back_for_others_to_refuse(body):
    with pytest.raises(pki.RequestRefused):
        pki.read_request(est_wire.request(body))


# --- unmodified clients ---------------------------------------------------------------------------------------------
def run(*words, folder):
    """A client's run that ends well; returns what it printed."""
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Client:
    """`pki --est` in a folder."""

    def __init__(self, door, folder):
        self.folder = folder
        self.url, self.cacert = door.url, door.ca_file

    def request(self, name, *options):
        """A new key and a request for it."""
        key = run("pki", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem", folder=self.folder)
        (self.folder / f"{name}.key").write_bytes(key)
        csr = run("pki", "--req", "--type", "priv", "--in", f"{name}.key", "--dn", f"CN={name}", folder=self.folder)
        (self.folder / f"{name}.csr").write_bytes(csr)
        return self.command(f"{name}.csr", *options)

    def command(self, csr, *options):
        words = ["pki", "--est", "--url", self.url, "--cacert", self.cacert, "--in", csr, "--outform", "pem", *options]
        return [str(word) for word in words]


def test_a_device_that_must_be_approved_is_told_when_to_ask_again_and_ends_well(https_door, kind, tmp_path):
    token = peers.claim_token(device_type=kind, approve_by_hand=True)
    client = Client(https_door, tmp_path)
    command = client.request("hw-1", "--userpass", f"{token[:12]}:{token}", "--interval", "1")
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as waiting:
        said = []
        for line in waiting.stderr:
            said.append(line)
            if "going to sleep" in line:
                break
        waiting.kill()
    # It wanted to come back after a second; Retry-After says otherwise.
    assert f"going to sleep for {approvals.RETRY_SECONDS} seconds" in "".join(said)
    assert not Device.objects.exists()
    approvals.decide(Approval.objects.get(), approve=True, user=UserFactory(), reason="known", now=timezone.now())
    leaf = x509.load_pem_x509_certificate(run(*command, folder=tmp_path))
    assert leaf.subject == pki.name(Device.objects.get(hardware_id="hw-1").device_id)


def test_a_refused_client_ends_with_an_error(https_door, token, tmp_path):
    command = Client(https_door, tmp_path).request("hw-1", "--userpass", f"{token[:12]}:{token}x")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert done.returncode != 0
    assert b"HTTP 401" in done.stderr
    assert not Device.objects.exists()
