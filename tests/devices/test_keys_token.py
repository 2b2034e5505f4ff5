"""Keys in a PKCS#11 token, tried with a real one: SoftHSM."""

import copy
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone
from django.views.debug import get_exception_reporter_filter
from pkcs11 import Attribute, ObjectClass

from devices import key_tokens, keys, pki
from devices.errors import CertificateError
from tests.devices.conftest import LABEL, MODULE, PIN, away

NOW, DAY = timezone.now(), timedelta(days=1)
ROOT = Path(__file__).resolve().parents[2]
ECDSA = ec.ECDSA(hashes.SHA256())


@pytest.fixture
def backend(token):
    key_tokens.token_keys.cache_clear()
    return keys.backend("pkcs11")


@pytest.fixture
def name(request):
    return f"{request.node.name}-{os.urandom(4).hex()}"


def test_signs_x509_of_every_kind(backend, name):
    key = backend.make(name)
    root = pki.make_root("Root", key, DAY, NOW)
    root.verify_directly_issued_by(root)
    issuing_key = backend.make(f"{name}-2")
    issuing = pki.make_issuing("Issuing", issuing_key.public_key(), root, key, DAY, NOW)
    issuing.verify_directly_issued_by(root)
    leaf = pki.sign_device("d-1", pki.new_key().public_key(), issuing, issuing_key, DAY, NOW)
    leaf.verify_directly_issued_by(issuing)
    assert pki.make_crl(issuing, issuing_key, [(7, NOW)], 1, DAY, NOW).is_signature_valid(issuing_key.public_key())
    request = x509.CertificateSigningRequestBuilder().subject_name(pki.name("x")).sign(issuing_key, hashes.SHA256())
    assert request.is_signature_valid


def test_openssl_agrees_with_its_signatures(backend, name, tmp_path):
    root = pki.make_root("Root", backend.make(name), DAY, NOW)
    (tmp_path / "root.pem").write_text(pki.pem(root))
    command = ["openssl", "verify", "-check_ss_sig", "-CAfile", "root.pem", "root.pem"]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout == "root.pem: OK\n"


def test_a_loaded_key_is_the_one_that_was_made(backend, name):
    made, loaded = backend.make(name), backend.load(name)
    made.public_key().verify(loaded.sign(b"text", ECDSA), b"text", ECDSA)
    assert isinstance(loaded.curve, ec.SECP256R1)
    assert loaded.key_size == 256
    assert copy.copy(loaded) is loaded
    assert copy.deepcopy(loaded) is loaded


def test_a_key_is_never_made_twice(backend, name):
    first = backend.make(name)
    with pytest.raises(FileExistsError):
        backend.make(name)
    assert backend.load(name).public_key() == first.public_key()


def test_the_private_half_cannot_be_taken_out(backend, name):
    key = backend.make(name)
    raw = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    for attempt in (lambda: key.private_bytes(*raw), key.private_numbers, lambda: key.exchange(None, None)):
        with pytest.raises(TypeError, match="stays"):
            attempt()
    library = pkcs11.lib(MODULE)
    held = backend._session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=name)
    assert library.initialized
    assert (held[Attribute.SENSITIVE], held[Attribute.EXTRACTABLE], held[Attribute.NEVER_EXTRACTABLE]) == (1, 0, 1)
    with pytest.raises(pkcs11.AttributeSensitive):
        held[Attribute.VALUE]


def test_signs_with_sha_256_only(backend, name):
    with pytest.raises(ValueError, match="SHA-256"):
        backend.make(name).sign(b"text", ec.ECDSA(hashes.SHA512()))


def test_a_key_that_is_not_there_is_unavailable(backend, name):
    with pytest.raises(CertificateError, match="NoSuchKey") as refusal:
        backend.load(name)
    assert (refusal.value.code, refusal.value.status) == ("ca_key_unavailable", 503)


def test_threads_sign_at_once(backend, name):
    key = backend.make(name)

    def sign(number):
        text = str(number).encode()
        key.public_key().verify(backend.load(name).sign(text, ECDSA), text, ECDSA)

    with ThreadPoolExecutor(8) as team:
        list(team.map(sign, range(200)))


def test_a_token_that_went_away_and_came_back_signs_again(backend, name, token):
    key = backend.make(name)
    with away(token):
        for attempt in (lambda: key.sign(b"text", ECDSA), lambda: backend.load(name)):
            with pytest.raises(CertificateError) as refusal:
                attempt()
            assert (refusal.value.code, refusal.value.status) == ("ca_key_unavailable", 503)
    key.public_key().verify(key.sign(b"text", ECDSA), b"text", ECDSA)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library's own destructor
def test_a_session_that_broke_is_opened_anew(backend, name):
    key = backend.make(name)
    pkcs11.lib(MODULE).reinitialize()  # ends every session, as a restart of the token's service does
    key.public_key().verify(key.sign(b"text", ECDSA), b"text", ECDSA)


def test_a_forked_worker_signs_with_a_session_of_its_own(backend, name):
    key = backend.make(name)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signature = b""
        try:
            signature = keys.backend("pkcs11").load(name).sign(b"text", ECDSA)
            assert keys.backend("pkcs11") is not backend
        finally:
            os.write(writer, signature)
            os._exit(0)
    os.waitpid(child, 0)
    key.public_key().verify(os.read(reader, 1000), b"text", ECDSA)
    key.public_key().verify(key.sign(b"text", ECDSA), b"text", ECDSA)


def test_a_wrong_pin_is_tried_once_and_told_nowhere(token, name):
    """A token locks itself after a few wrong attempts, and an hourly task would make them."""
    backend = key_tokens.TokenKeys(MODULE, LABEL, "wrong-pin-71")
    pkcs11.lib(MODULE).reinitialize()
    with pytest.raises(CertificateError, match="PinIncorrect") as refusal:
        backend.load(name)
    told = "".join(traceback.format_exception(refusal.value)) + repr(backend) + repr(vars(refusal.value))
    assert "wrong-pin-71" not in told
    backend._pin = PIN
    with pytest.raises(CertificateError, match="PinIncorrect"):
        backend.load(name)


def test_a_missing_library_or_token_is_unavailable(token):
    for backend in (key_tokens.TokenKeys("/no/such.so", LABEL, PIN), key_tokens.TokenKeys(MODULE, "no-such", PIN)):
        with pytest.raises(CertificateError) as refusal:
            backend.load("k")
        assert refusal.value.code == "ca_key_unavailable"
        assert PIN not in "".join(traceback.format_exception(refusal.value))


def test_the_debug_page_hides_the_pin(settings, token):
    shown = get_exception_reporter_filter(None).get_safe_settings()
    secrets = [PIN, settings.CA_KEY_PASSPHRASE, settings.SECRET_KEY, settings.REDIS_URL, settings.MQTT_INGEST_GROUP]
    assert [secret for secret in secrets if secret in str(shown)] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CA_KEY_BACKEND": "pkcs11"}, "PKCS11_MODULE"),
        ({"CA_KEY_BACKEND": "pkcs11", "PKCS11_MODULE": "/x.so", "PKCS11_TOKEN": "t"}, "PKCS11_PIN"),
        ({"CA_KEY_BACKEND": "vault"}, "CA_KEY_BACKEND=vault: file or pkcs11"),
    ],
)
def test_settings_that_cannot_work_stop_the_process(changes, words):
    done = subprocess.run(
        [sys.executable, "-c", "import fleetportal.settings"],
        cwd=ROOT, env=os.environ | changes, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert words in done.stderr.splitlines()[-1]


def test_the_pin_may_come_from_a_file(tmp_path):
    (tmp_path / "pin").write_text("4711-from-a-file\n")
    code = "from fleetportal import settings; print(settings.PKCS11_PIN == '4711-from-a-file')"
    environment = os.environ | {"PKCS11_PIN_FILE": str(tmp_path / "pin")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
