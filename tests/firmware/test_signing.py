"""Signatures as other people's tools make them: the real openssl, and the bytes that cosign writes."""

import base64
import hashlib
import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from firmware import signing
from firmware.signing import SigningError, manifest, permit_statement, read_public_key, read_signature

IMAGE = b"firmware" * 1000
MANIFEST = manifest(hashlib.sha256(IMAGE).hexdigest(), "pump-2.0.0.bin")
KINDS = {"ecdsa": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ed25519": ["-algorithm", "ED25519"]}


def run(*command, cwd, **words):
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, **words).stdout


@pytest.fixture
def desk(tmp_path):
    """A build server's folder: the image, and the manifest as `sha256sum` prints it."""
    (tmp_path / "pump-2.0.0.bin").write_bytes(IMAGE)
    (tmp_path / "manifest").write_bytes(run("sha256sum", "pump-2.0.0.bin", cwd=tmp_path))
    return tmp_path


def key_pair(desk, kind):
    run("openssl", "genpkey", *KINDS[kind], "-out", "key.pem", cwd=desk)
    run("openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "key.pub", cwd=desk)
    return read_public_key((desk / "key.pub").read_bytes())


def signed(desk, kind):
    """The documented command for each kind of key."""
    if kind == "ecdsa":
        run("openssl", "dgst", "-sha256", "-sign", "key.pem", "-out", "manifest.sig", "manifest", cwd=desk)
    else:
        sign = ("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "manifest", "-out", "manifest.sig")
        run(*sign, cwd=desk)
    return (desk / "manifest.sig").read_bytes()


# --- openssl --------------------------------------------------------------------------------------------------------


def test_the_manifest_is_the_line_of_sha256sum(desk):
    assert (desk / "manifest").read_bytes() == MANIFEST
    run("sha256sum", "--check", "--strict", "manifest", cwd=desk)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["raw", "base64", "base64 in lines"])
def test_a_signature_made_with_openssl_is_good_raw_and_in_base64(desk, kind, form):
    key, raw = key_pair(desk, kind), signed(desk, kind)
    if form != "raw":
        raw = run("openssl", "base64", *(["-A"] if form == "base64" else []), "-in", "manifest.sig", cwd=desk)
    signature = read_signature(raw)
    assert signature == (desk / "manifest.sig").read_bytes()
    assert key.verify(signature, MANIFEST)
    assert not key.verify(signature, MANIFEST.replace(b"pump-2", b"pump-3"))
    assert not key.verify(signature[:-1], MANIFEST)
    assert not key.verify(b"", MANIFEST)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_of_ours_is_good_for_openssl(desk, kind):
    """As an auditor checks it, without the portal."""
    key_pair(desk, kind)
    private = serialization.load_pem_private_key((desk / "key.pem").read_bytes(), None)
    made = private.sign(MANIFEST, ec.ECDSA(hashes.SHA256())) if kind == "ecdsa" else private.sign(MANIFEST)
    (desk / "ours.sig").write_bytes(made)
    if kind == "ecdsa":
        verify = ("openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "ours.sig", "manifest")
    else:
        inputs = ("-inkey", "key.pub", "-sigfile", "ours.sig", "-in", "manifest")
        verify = ("openssl", "pkeyutl", "-verify", "-rawin", "-pubin", *inputs)
    assert b"Verified" in run(*verify, cwd=desk)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_is_that_of_the_key_in_der_as_openssl_writes_it(desk, kind):
    key = key_pair(desk, kind)
    der = run("openssl", "pkey", "-pubin", "-in", "key.pub", "-outform", "DER", cwd=desk)
    assert key.fingerprint == hashlib.sha256(der).hexdigest()
    assert key.pem == (desk / "key.pub").read_text()
    assert key.algorithm == {"ecdsa": signing.ECDSA_P256, "ed25519": signing.ED25519}[kind]
    assert read_public_key(key.pem) == key or read_public_key(key.pem).fingerprint == key.fingerprint


# --- cosign ---------------------------------------------------------------------------------------------------------


def cosign(desk):
    """What `cosign sign-blob --key cosign.key --tlog-upload=false manifest` writes: by it, or byte for byte like it.

    That is Base64 in one line of the ECDSA signature (P-256, DER) over the SHA-256 of the file.
    """
    if shutil.which("cosign") is None:
        key_pair(desk, "ecdsa")
        return base64.b64encode(signed(desk, "ecdsa")), (desk / "key.pub").read_bytes()
    words = {"COSIGN_PASSWORD": "", "HOME": str(desk), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    run("cosign", "generate-key-pair", cwd=desk, env=words)
    sign = ("cosign", "sign-blob", "--yes", "--tlog-upload=false", "--key", "cosign.key", "manifest")
    return run(*sign, cwd=desk, env=words), (desk / "cosign.pub").read_bytes()


def test_a_signature_made_with_cosign_is_good(desk):
    signature, public = cosign(desk)
    key = read_public_key(public)
    assert key.algorithm == signing.ECDSA_P256
    assert key.verify(read_signature(signature), MANIFEST)
    assert key.verify(read_signature(signature + b"\n"), MANIFEST)


@pytest.mark.parametrize("form", ["bundle", "older", "pretty"])
def test_the_signature_in_a_bundle_of_cosign_is_good(desk, form):
    """As `cosign sign-blob --bundle` writes them: 3 and newer with a message signature, older ones with Base64."""
    key = key_pair(desk, "ecdsa")
    text = base64.b64encode(signed(desk, "ecdsa")).decode()
    digest = base64.b64encode(hashlib.sha256(MANIFEST).digest()).decode()
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": [{"canonicalizedBody": "A" * 5000}]},
        "messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": digest}, "signature": text},
    }
    if form == "older":
        bundle = {"base64Signature": text, "cert": "", "rekorBundle": None}
    written = json.dumps(bundle, indent=2 if form == "pretty" else None).encode()
    assert key.verify(read_signature(written), MANIFEST)


@pytest.mark.parametrize(
    "data",
    [b"{}", b"{", b'{"messageSignature": {}}', b'{"messageSignature": []}', b'{"dsseEnvelope": {}}',
     b'{"base64Signature": "\xc3\xa4"}', b'{"messageSignature":' + b"[" * 30_000],
)  # fmt: skip
def test_a_bundle_without_a_signature_over_a_file_is_refused(data):
    with pytest.raises(SigningError, match="bundle without a signature"):
        read_signature(data)


def test_a_bundle_is_not_read_without_end():
    with pytest.raises(SigningError, match="at most 64 KiB"):
        read_signature(b"{" + b" " * 65_536)
    with pytest.raises(SigningError, match="at most 1,024"):
        read_signature(json.dumps({"base64Signature": "A" * 1025}).encode())


# --- keys and signatures that are none ------------------------------------------------------------------------------


def pem(key):
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_only_p256_and_ed25519_keys_are_taken():
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(SigningError, match="Only ECDSA P-256 and Ed25519"):
            read_public_key(pem(key.public_key()))


@pytest.mark.parametrize(
    "data", ["", "key", b"\xff\x00", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_refused(data):
    with pytest.raises(SigningError, match="Not a public key"):
        read_public_key(data)


def test_a_private_key_is_refused_with_a_warning(desk):
    key_pair(desk, "ecdsa")
    with pytest.raises(SigningError, match="private key"):
        read_public_key((desk / "key.pem").read_text())


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "empty"), (b" \n", "empty"), (b"no signature!", "Not a signature"), (b"MEUC\xff", "Not a signature"),
     (b"A" * 1025, "at most 1,024")],
)  # fmt: skip
def test_what_is_no_signature_is_refused(data, why):
    with pytest.raises(SigningError, match=why):
        read_signature(data)


def test_base64_that_begins_like_der_is_base64():
    """One in 64 Ed25519 signatures begins with "0" in Base64, which is the byte of a DER sequence."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = read_public_key(pem(key.public_key()))
    for number in range(300):
        message = str(number).encode()
        text = base64.b64encode(key.sign(message))
        assert public.verify(read_signature(text), message)
    assert read_signature(base64.b64encode(b"\xd1" * 64)) == b"\xd1" * 64
    assert base64.b64encode(b"\xd1" * 64)[:1] == b"0"


@given(st.binary(max_size=1100))
def test_any_bytes_are_read_as_a_signature_that_is_not_good_or_refused(data):
    key = read_public_key(pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()))
    other = read_public_key(pem(ec.derive_private_key(7, ec.SECP256R1()).public_key()))
    try:
        signature = read_signature(data)
    except SigningError:
        return
    assert not key.verify(signature, MANIFEST)
    assert not other.verify(signature, MANIFEST)


# --- permits --------------------------------------------------------------------------------------------------------


def test_a_permit_names_the_device_the_update_both_versions_and_the_image():
    """Devices in the field check exactly these bytes."""
    assert permit_statement("d-1", "u-1", "2.0.0", "1.0.0", "ab") == (
        b"fleetportal rollback permit\nd-1\nu-1\n2.0.0\n1.0.0\nab\n"
    )


line = st.text(st.characters(codec="utf-8"), max_size=10) | st.sampled_from(["\n", "\\n", "\\", "a\nb"])
said = st.tuples(*[line] * 5)


@given(one=said, other=said)
def test_no_field_of_a_permit_can_pass_for_another(one, other):
    assert (permit_statement(*one) == permit_statement(*other)) is (one == other)
