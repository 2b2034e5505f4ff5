import base64
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import credentials, identity
from agent.identity import Enrolment, Identity, IdentityError
from devices.contract import proof_statement
from tests.agent.authority import Authority


def test_the_request_names_the_hardware_and_is_the_same_ever_after(tmp_path: Path) -> None:
    first = identity.request(tmp_path / "d", "serial-1")
    assert identity.request(tmp_path / "d", "serial-1") == first
    csr = x509.load_pem_x509_csr(first.encode())
    assert csr.is_signature_valid
    assert csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "serial-1"
    assert isinstance(csr.public_key(), ec.EllipticCurvePublicKey)


def test_keys_are_for_the_owner_alone(enrolled: Identity) -> None:
    directory = enrolled.credentials.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_stored_identity_is_loaded_again(enrolled: Identity) -> None:
    (again,) = credentials.load(enrolled.credentials.parent)
    assert (again.enrolment, again.serial, again.credentials) == (
        enrolled.enrolment,
        enrolled.serial,
        enrolled.credentials,
    )
    assert again.key.private_numbers() == enrolled.key.private_numbers()


def test_before_enrolment_there_is_none(tmp_path: Path) -> None:
    identity.request(tmp_path / "d", "serial-1")
    assert credentials.load(tmp_path / "d") == ()


def test_the_proof_is_a_signature_of_the_certificates_key(enrolled: Identity) -> None:
    certificate = x509.load_pem_x509_certificate(enrolled.enrolment.certificate.encode())
    proof = enrolled.proof(session=7, boot_id="b")
    assert int(proof.serial, 16) == certificate.serial_number
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    statement = proof_statement("d-1", 7, "b", proof.serial)
    key.verify(base64.b64decode(proof.proof, validate=True), statement, ec.ECDSA(hashes.SHA256()))


def test_a_certificate_for_another_key_is_refused(tmp_path: Path, enrolled: Identity) -> None:
    identity.request(tmp_path / "other", "serial-2")
    with pytest.raises(IdentityError, match="another key"):
        identity.store(tmp_path / "other", enrolled.enrolment)
    assert credentials.load(tmp_path / "other") == ()


def test_an_answer_without_a_certificate_is_refused(tmp_path: Path, enrolled: Identity) -> None:
    answer = Enrolment("d-2", "acme", "pump", "no pem", "", enrolled.enrolment.endpoints)
    with pytest.raises(IdentityError, match="not a certificate"):
        identity.store(tmp_path, answer)


STEPS = (identity.KEY, identity.REQUEST, identity.ENROLMENT_COPY, identity.ENROLMENT, identity.CREDENTIALS)


@pytest.mark.parametrize("cut", STEPS)
def test_a_power_cut_before_any_write_is_repaired_by_enrolling_again(
    tmp_path: Path, authority: Authority, enrolled: Identity, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    write, directory = identity.write, tmp_path / "cut"

    def enrol() -> Identity:
        certificate = authority.sign(identity.request(directory, "serial-1"), "d-1")
        enrolment = enrolled.enrolment
        answer = Enrolment("d-1", "acme", "pump", certificate, enrolment.chain, enrolment.endpoints)
        return identity.store(directory, answer)

    def lights_out(path: Path, content: bytes) -> None:
        if path.name == cut:
            path.with_suffix(".draft").write_bytes(content[:10])
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(identity, "write", lights_out)
    with pytest.raises(KeyboardInterrupt):
        enrol()
    monkeypatch.setattr(identity, "write", write)
    assert credentials.load(directory) == ()
    serial = enrol().serial
    (again,) = credentials.load(directory)
    assert again.serial == serial


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / identity.KEY).write_bytes(b"garbage")
    with pytest.raises(IdentityError, match="damaged"):
        identity.request(tmp_path, "serial-1")
