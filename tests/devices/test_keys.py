import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from devices import keys, pki
from devices.errors import CertificateError
from devices.key_files import FileKeys


@pytest.fixture
def backend(tmp_path):
    return FileKeys(tmp_path / "ca", "the passphrase")


def public(key):
    return pki.key_fingerprint(key.public_key())


def test_a_made_key_is_loaded_again(backend):
    key = backend.make("root-1")
    assert public(backend.load("root-1")) == public(key)


def test_a_key_lies_encrypted_in_a_file_of_its_owner_alone(backend):
    backend.make("root-1")
    path = backend.directory / "root-1.key"
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with pytest.raises(TypeError, match=r"[Pp]assword"):
        serialization.load_pem_private_key(path.read_bytes(), None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(backend.directory.stat().st_mode) == 0o700
    assert list(backend.directory.iterdir()) == [path], "nothing else is left"


def test_a_key_is_never_overwritten(backend):
    first = backend.make("root-1")
    with pytest.raises(FileExistsError):
        backend.make("root-1")
    assert public(backend.load("root-1")) == public(first)
    assert [path.name for path in backend.directory.iterdir()] == ["root-1.key"]


def test_what_a_process_left_that_was_killed_while_writing_is_in_nobodys_way(backend):
    backend.directory.mkdir()
    (backend.directory / ".0123.new").write_bytes(b"-----BEGIN ENCR")
    assert public(backend.make("root-1")) == public(backend.load("root-1"))


@pytest.mark.parametrize("passphrase", ["another passphrase", ""])
def test_a_wrong_passphrase_opens_nothing_and_tells_nothing(backend, passphrase):
    backend.make("root-1")
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


def test_new_keys_are_made_where_the_settings_say(settings, tmp_path):
    settings.CA_DIRECTORY, settings.CA_KEY_PASSPHRASE = tmp_path, "from the settings"
    key = keys.backend().make("k")
    assert public(FileKeys(tmp_path, "from the settings").load("k")) == public(key)
    assert public(keys.backend("file").load("k")) == public(key)


def test_a_key_that_is_kept_elsewhere_says_so():
    with pytest.raises(CertificateError, match="not on this machine") as refusal:
        keys.backend("none")
    assert (refusal.value.code, refusal.value.status) == ("ca_key_unavailable", 503)


@pytest.mark.parametrize("missing", ["PKCS11_MODULE", "PKCS11_TOKEN", "PKCS11_PIN"])
def test_a_token_that_the_settings_do_not_describe_is_named(settings, missing):
    settings.PKCS11_MODULE, settings.PKCS11_TOKEN, settings.PKCS11_PIN = "/lib.so", "label", "the-pin"
    setattr(settings, missing, "")
    with pytest.raises(CertificateError, match=missing) as refusal:
        keys.backend("pkcs11")
    assert refusal.value.code == "ca_key_unavailable"
    assert "the-pin" not in str(refusal.value)
