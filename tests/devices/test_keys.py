import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from devices import keys, pki
from devices.errors import CertificateError
from devices.keys import FileKeys


@pytest.fixture
def backend(tmp_path):
    return FileKeys(tmp_path / "ca", "the passphrase")


def public(key):
    return pki.key_fingerprint(key.public_key())


def test_a_saved_key_is_loaded_again(backend):
    key = pki.new_key()
    backend.save("root-1", key)
    assert public(backend.load("root-1")) == public(key)


def test_a_key_lies_encrypted_in_a_file_of_its_owner_alone(backend):
    backend.save("root-1", pki.new_key())
    path = backend.directory / "root-1.key"
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with pytest.raises(TypeError, match=r"[Pp]assword"):
        serialization.load_pem_private_key(path.read_bytes(), None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(backend.directory.stat().st_mode) == 0o700


def test_a_key_is_never_overwritten(backend):
    first = pki.new_key()
    backend.save("root-1", first)
    with pytest.raises(FileExistsError):
        backend.save("root-1", pki.new_key())
    assert public(backend.load("root-1")) == public(first)


@pytest.mark.parametrize("passphrase", ["another passphrase", ""])
def test_a_wrong_passphrase_opens_nothing_and_tells_nothing(backend, passphrase):
    backend.save("root-1", pki.new_key())
    with pytest.raises(CertificateError) as refusal:
        FileKeys(backend.directory, passphrase).load("root-1")
    assert (refusal.value.code, refusal.value.status) == ("ca_key_unavailable", 503)
    assert str(refusal.value) == "The CA key 'root-1' cannot be opened."


def test_a_missing_or_foreign_file_is_unavailable(backend):
    backend.directory.mkdir()
    (backend.directory / "odd.key").write_bytes(b"no key at all")
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"the passphrase"),
    )
    (backend.directory / "edwards.key").write_bytes(other)
    for name in ("missing", "odd", "edwards"):
        with pytest.raises(CertificateError) as refusal:
            backend.load(name)
        assert refusal.value.code == "ca_key_unavailable"


def test_the_backend_is_that_of_the_settings(settings, tmp_path):
    settings.CA_DIRECTORY, settings.CA_KEY_PASSPHRASE = tmp_path, "from the settings"
    key = pki.new_key()
    keys.backend().save("k", key)
    assert public(FileKeys(tmp_path, "from the settings").load("k")) == public(key)
