"""A small CA that writes the broker's files, as the portal does: mode 640, each replaced in one step."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ACL = "pattern readwrite /test/type/%u/#\n"


class TestAuthority:
    """Issues, revokes, and keeps the folder of the broker up to date."""

    __test__ = False  # not a test, whatever its name says

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self.revoked: list[int] = []
        self.certificate = self._sign(name, self.key.public_key(), is_ca=True)

    def write_all(self, acl: str = ACL) -> None:
        """Everything the broker reads, afresh."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.write("ca.pem", self.certificate.public_bytes(Encoding.PEM))
        self.write("server.key", _private(key))
        server = self._sign("localhost", key.public_key())
        self.server_serial = server.serial_number
        self.write("server.pem", server.public_bytes(Encoding.PEM))
        self.write_crl()
        self.write("acl", acl.encode())

    def write_crl(self) -> None:
        """The list of revoked certificates."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(self.name, now - timedelta(minutes=1), now + timedelta(days=1))
        for serial in self.revoked:
            revoked = x509.RevokedCertificateBuilder(serial, now - timedelta(minutes=1))
            builder = builder.add_revoked_certificate(revoked.build())
        self.write("crl.pem", builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def write(self, name: str, content: bytes) -> None:
        """Replace one file, mode 640."""
        new = self.folder / f"{name}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o640)
            file.write(content)
        new.replace(self.folder / name)

    def device(self, device_id: str, folder: Path, trusted: Path | None = None) -> tuple[ssl.SSLContext, int]:
        """A device's TLS settings, trusting us unless told otherwise, and the serial number of its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(device_id, key.public_key())
        bundle = folder / f"{device_id}.pem"
        bundle.write_bytes(_private(key) + certificate.public_bytes(Encoding.PEM))
        context = ssl.create_default_context(cafile=str(trusted or self.folder / "ca.pem"))
        context.load_cert_chain(bundle)
        return context, certificate.serial_number

    def _sign(self, name: str, key: ec.EllipticCurvePublicKey, is_ca: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
