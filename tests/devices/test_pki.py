import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st

from devices import pki

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RSA_2048 = rsa.generate_private_key(65537, 2048)
ROOT_KEY, ISSUING_KEY = pki.new_key(), pki.new_key()
ROOT = pki.make_root("root", ROOT_KEY, 3650 * DAY, NOW)
ISSUING = pki.make_issuing("issuing", ISSUING_KEY.public_key(), ROOT, ROOT_KEY, 365 * DAY, NOW)


SHA256 = hashes.SHA256()


def request(key, algorithm=SHA256, extensions=(), subject="x") -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(pki.name(subject))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def with_its_signature_spoilt() -> bytes:
    der = bytearray(base64.b64decode(b"".join(request(pki.new_key()).splitlines()[1:-1])))
    der[-10] ^= 1
    return (
        b"-----BEGIN CERTIFICATE REQUEST-----\n"
        + base64.encodebytes(bytes(der))
        + b"-----END CERTIFICATE REQUEST-----\n"
    )


def with_sha1() -> bytes:
    """No library of ours signs so any more: the algorithm's identifiers are exchanged in one signed with SHA-256."""
    der = base64.b64decode(b"".join(request(RSA_2048).splitlines()[1:-1]))
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    assert der.count(sha256) == 1
    der = der.replace(sha256, sha1)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE REQUEST-----\n"


GOOD = {
    "P-256": lambda: request(pki.new_key()),
    "P-384": lambda: request(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
    "Ed25519": lambda: request(ed25519.Ed25519PrivateKey.generate(), None),
    "RSA 2048": lambda: request(RSA_2048),
}
BAD = {
    "nothing": (lambda: b"", "not a PKCS#10"),
    "garbage": (lambda: bytes(range(256)), "not a PKCS#10"),
    "a certificate": (lambda: pki.pem(ROOT).encode(), "not a PKCS#10"),
    "empty PEM": (lambda: b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n", "not a PKCS#10"),
    "half": (lambda: request(pki.new_key())[:200], "not a PKCS#10"),
    "truncated DER": (
        lambda: base64.b64decode(b"".join(request(pki.new_key()).splitlines()[1:-1]))[:-1],
        "not a PKCS#10",
    ),
    "asks to be a CA": (
        lambda: request(pki.new_key(), extensions=[x509.BasicConstraints(ca=True, path_length=None)]),
        "authority",
    ),
    "asks to sign certificates": (lambda: request(pki.new_key(), extensions=[pki._usage(ca=True)]), "authority"),
    "RSA with exponent 3": (lambda: request(rsa.generate_private_key(3, 2048)), "exponent"),
    "huge": (lambda: request(pki.new_key()) + b"\n" * pki.MAX_CSR_BYTES, "at most"),
    "RSA 1024": (lambda: request(rsa.generate_private_key(65537, 1024)), "2048 to"),
    "P-192": (lambda: request(ec.generate_private_key(ec.SECP192R1())), "P-256"),
    "P-521": (lambda: request(ec.generate_private_key(ec.SECP521R1())), "P-256"),
    "secp256k1": (lambda: request(ec.generate_private_key(ec.SECP256K1())), "P-256"),
    "DSA": (lambda: request(dsa.generate_private_key(1024)), "must be P-256"),
    "Ed448": (lambda: request(ed448.Ed448PrivateKey.generate(), None), "must be P-256"),
    "SHA-1": (with_sha1, "weak hash"),
    "a bad signature": (with_its_signature_spoilt, "own key|not a PKCS#10"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_accepts(kind):
    assert pki.read_request(GOOD[kind]()).is_signature_valid


@pytest.mark.parametrize("kind", BAD)
def test_refuses(kind):
    make, why = BAD[kind]
    with pytest.raises(pki.RequestRefused, match=why):
        pki.read_request(make())


@given(st.binary(max_size=500))
def test_no_bytes_make_it_raise_anything_else(text):
    with pytest.raises(pki.RequestRefused):
        pki.read_request(text)
    with pytest.raises(pki.RequestRefused):
        pki.read_request(
            b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.b64encode(text) + b"\n-----END CERTIFICATE REQUEST-----\n"
        )


def verifier(at=NOW):
    return PolicyBuilder().store(Store([ROOT])).time(at).build_client_verifier()


def leaf(key=None, now=NOW, lifetime=30 * DAY):
    return pki.sign_device("d-1", (key or pki.new_key()).public_key(), ISSUING, ISSUING_KEY, lifetime, now)


def test_a_device_certificate_names_the_device_and_is_for_clients_only():
    device = leaf()
    assert device.subject == pki.name("d-1")
    assert device.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = device.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
    extended = device.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_extensions_that_a_request_asks_for_are_ignored():
    asked = request(pki.new_key(), extensions=[
        x509.BasicConstraints(ca=False, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
        x509.SubjectAlternativeName([x509.DNSName("portal.example")]),
    ], subject="root")  # fmt: skip
    key = pki.read_request(asked).public_key()
    device = pki.sign_device("d-1", key, ISSUING, ISSUING_KEY, DAY, NOW)
    assert device.subject == pki.name("d-1")
    assert device.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    with pytest.raises(x509.ExtensionNotFound):
        device.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_reads_der_as_well_as_pem():
    pem = request(pki.new_key())
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    assert pki.read_request(der).public_key() == pki.read_request(pem).public_key()


def test_a_hardware_id_is_the_serial_number_of_a_subject_or_its_common_name():
    attribute = x509.NameAttribute
    both = x509.Name([attribute(NameOID.COMMON_NAME, "cn"), attribute(NameOID.SERIAL_NUMBER, "sn")])
    assert [pki.subject_name(name) for name in (both, pki.name("cn"), x509.Name([]))] == ["sn", "cn", ""]


def test_a_device_certificate_cannot_sign_another():
    middle_key = pki.new_key()
    below = pki.sign_device("d-2", pki.new_key().public_key(), leaf(middle_key), middle_key, DAY, NOW)
    with pytest.raises(VerificationError):
        verifier().verify(below, [leaf(middle_key), ISSUING])


def test_the_issuing_ca_cannot_make_another_ca():
    key = pki.new_key()
    second = pki.make_issuing("second", key.public_key(), ISSUING, ISSUING_KEY, DAY, NOW)
    device = pki.sign_device("d-1", pki.new_key().public_key(), second, key, DAY, NOW)
    with pytest.raises(VerificationError):
        verifier().verify(device, [second, ISSUING])


def test_a_server_certificate_names_its_hosts_and_is_for_servers_only():
    hosts = ["broker.example", "127.0.0.1", "::1", "broker.example"]
    server = pki.sign_server(hosts, pki.new_key().public_key(), ISSUING, ISSUING_KEY, DAY, NOW)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    extended = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_certificates_are_valid_a_little_before_now_for_slow_clocks_and_never_outlive_their_issuer():
    device = leaf(lifetime=10_000 * DAY)
    assert device.not_valid_before_utc == NOW - pki.CLOCK_SKEW
    assert device.not_valid_after_utc == ISSUING.not_valid_after_utc
    assert ISSUING.not_valid_after_utc <= ROOT.not_valid_after_utc
    late = pki.make_issuing("late", pki.new_key().public_key(), ROOT, ROOT_KEY, 100_000 * DAY, NOW)
    assert late.not_valid_after_utc == ROOT.not_valid_after_utc


def test_no_two_certificates_share_a_serial_number():
    assert len({pki.serial_text(leaf()) for _ in range(50)}) == 50


def test_a_revocation_list_carries_numbers_and_true_dates_and_is_signed():
    date = NOW - 3 * DAY
    crl = pki.make_crl(ISSUING, ISSUING_KEY, [(255, date)], 7, 7 * DAY, NOW)
    assert crl.is_signature_valid(ISSUING_KEY.public_key())
    assert [(entry.serial_number, entry.revocation_date_utc) for entry in crl] == [(255, date)]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    assert crl.next_update_utc == NOW + 7 * DAY
    assert crl.last_update_utc < NOW
    assert crl.issuer == ISSUING.subject


def test_a_long_revocation_list_is_signed_in_an_instant():
    """Entry by entry the builder copies its list: 20,000 took half a second and 100,000 eighteen."""
    serials = range(1, 20_001)
    began = time.perf_counter()
    crl = pki.make_crl(ISSUING, ISSUING_KEY, ((serial, NOW - serial * DAY / 1000) for serial in serials), 8, DAY, NOW)
    assert time.perf_counter() - began < 2
    began = time.perf_counter()
    assert len(pki.make_crl(ISSUING, ISSUING_KEY, ((each, NOW) for each in range(1, 100_001)), 9, DAY, NOW)) == 100_000
    assert time.perf_counter() - began < 6, "no longer by the square"
    assert [entry.serial_number for entry in crl] == list(serials)
    assert crl.get_revoked_certificate_by_serial_number(7000).revocation_date_utc == NOW - 7 * DAY
    assert [type(each.value) for each in crl.extensions] == [x509.CRLNumber, x509.AuthorityKeyIdentifier]
    assert not any(each.critical for each in crl.extensions)
    assert (crl.issuer, crl.next_update_utc) == (ISSUING.subject, NOW + DAY)
    assert crl.is_signature_valid(ISSUING_KEY.public_key())


KEYS = {
    "P-256": (pki.new_key(), lambda key, text: key.sign(text, ec.ECDSA(hashes.SHA256()))),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), lambda key, text: key.sign(text, ec.ECDSA(hashes.SHA256()))),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate(), lambda key, text: key.sign(text)),
    "RSA": (RSA_2048, lambda key, text: key.sign(text, padding.PKCS1v15(), hashes.SHA256())),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_proof_is_a_signature_by_the_certificates_key_over_the_statement(kind):
    key, sign = KEYS[kind]
    proof = base64.b64encode(sign(key, b"statement")).decode()
    assert pki.proves(leaf(key), b"statement", proof)
    assert not pki.proves(leaf(key), b"another statement", proof)
    assert not pki.proves(leaf(pki.new_key()), b"statement", proof)
    assert not pki.proves(leaf(key), b"statement", proof[:-8])


@given(st.text(max_size=100))
@pytest.mark.parametrize("kind", KEYS)
def test_no_text_proves_anything_or_raises(kind, proof):
    assert pki.proves(_LEAVES[kind], b"statement", proof) is False


_LEAVES = {kind: leaf(key) for kind, (key, _) in KEYS.items()}


def test_a_keys_fingerprint_is_of_the_key_and_not_of_the_certificate():
    key = pki.new_key()
    assert pki.key_fingerprint(leaf(key).public_key()) == pki.key_fingerprint(leaf(key).public_key())
    assert pki.key_fingerprint(key.public_key()) != pki.key_fingerprint(pki.new_key().public_key())


def test_a_serial_number_is_written_as_the_contract_wants_it():
    ca = _LEAVES["RSA"]
    assert int(pki.serial_text(ca), 16) == ca.serial_number
    assert pki.serial_text(ca) == pki.serial_text(ca).lower().lstrip("0")
