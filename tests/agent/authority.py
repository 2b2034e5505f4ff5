"""A certificate authority for tests: a root that signs the broker's certificate and those of devices."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    """Issues certificates; `root` is its own as a PEM file."""

    def __init__(self, directory: Path) -> None:
        self.directory, self._key = directory, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Root")])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.root = directory / "root.pem"
        self.root.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        self.crl = directory / "crl.pem"
        self._revoked: list[int] = []
        self.revoke()

    def sign(self, csr: str, common_name: str, lifetime: timedelta = timedelta(days=1)) -> str:
        """A client certificate (PEM) for a request, with the name the portal decided on; valid since an hour ago."""
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        assert request.is_signature_valid
        assert isinstance(key, ec.EllipticCurvePublicKey)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        return self._builder(name, key, lifetime).sign(self._key, hashes.SHA256()).public_bytes(PEM).decode()

    def revoke(self, *serials: str) -> None:
        """Put certificates on the CRL; a broker has to read it again."""
        self._revoked += [int(serial, 16) for serial in serials]
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(self._name, now - timedelta(minutes=5), now + timedelta(days=1))
        for serial in self._revoked:
            revoked = x509.RevokedCertificateBuilder(serial, now - timedelta(minutes=5)).build()
            builder = builder.add_revoked_certificate(revoked)
        self.crl.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def server(self) -> tuple[Path, Path]:
        """Certificate and key files of a server on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = self._builder(name, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate_file, key_file = self.directory / "server.pem", self.directory / "server.key"
        certificate_file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(PEM, form, secret))
        return certificate_file, key_file

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta = timedelta(days=1)
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + lifetime)
