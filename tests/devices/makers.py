"""A maker of chips that are born with a certificate."""

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from django.utils import timezone

from devices import claims, pki, succession
from devices.models import DeviceType
from tests.factories import DeviceTypeFactory, TenantFactory

DAY = timedelta(days=1)


class Maker:
    """A maker with a CA, and claims for its devices."""

    def __init__(self, *kinds: str) -> None:
        self.key, self.now = pki.new_key(), timezone.now()
        self.certificate = pki.make_root("Acme Silicon", self.key, 365 * DAY, self.now)
        self.row = succession.register_maker("Acme Silicon", self.certificate, self.now)
        for kind in kinds:
            device_type = DeviceType.objects.filter(slug=kind).first() or DeviceTypeFactory(slug=kind)
            claims.make_claim(
                tenant=TenantFactory(), device_type=device_type, name=kind, max_devices=9,
                lifetime=DAY, now=self.now, kind="maker", maker=self.row,
            )  # fmt: skip

    def born(self, *, name="SN-0001", key=None, usage=(), ca=False, since=None, until=None):
        """The certificate of one of its devices."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([
                x509.NameAttribute(NameOID.COMMON_NAME, "a chip"), x509.NameAttribute(NameOID.SERIAL_NUMBER, name)
            ]))
            .issuer_name(self.certificate.subject)
            .public_key((key or pki.new_key()).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since or self.now - DAY)
            .not_valid_after(until or self.now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usage)), critical=False)
        return builder.sign(self.key, hashes.SHA256())
