"""Adjectives of devices: rules about many rows."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F

from devices import rotation
from devices.tenancy import ScopedQuerySet

if TYPE_CHECKING:
    from devices.models import Certificate, Device  # noqa: F401 (named in quotes below)


class DeviceQuerySet(ScopedQuerySet["Device"]):
    """Devices, by adjective."""

    def online(self) -> "DeviceQuerySet":
        """Devices whose newest word is a birth, not a will or a silence."""
        return self.filter(presence__online=True)

    def in_service(self) -> "DeviceQuerySet":
        """Devices that are expected to speak."""
        return self.filter(state="active")

    def running(self, version: str) -> "DeviceQuerySet":
        """Devices that reported this firmware version at their last birth."""
        return self.filter(presence__firmware_version=version)


class CertificateQuerySet(ScopedQuerySet["Certificate"]):
    """Certificates, by adjective."""

    def trusted(self, now: datetime) -> "CertificateQuerySet":
        """Certificates a door lets in at this moment."""
        return self.filter(state__in=["pending", "active", "retiring"], not_before__lte=now, not_after__gt=now)

    def ending(self, now: datetime) -> "CertificateQuerySet":
        """Certificates in use of whose time to renew so much is gone that it is urgent (`rotation.is_urgent`)."""
        waited = ExpressionWrapper((F("not_after") - F("renew_at")) * rotation.URGENT, DurationField())
        urgent_at = ExpressionWrapper(F("renew_at") + waited, DateTimeField())
        return self.filter(state="active", renew_at__lte=now).alias(urgent_at=urgent_at).filter(urgent_at__lte=now)

    def revoked(self) -> "CertificateQuerySet":
        """Certificates that belong on a CRL."""
        return self.filter(revoked_at__isnull=False)

    def succession(self) -> "CertificateQuerySet":
        """Newest first, each with what signed and what replaced it."""
        return self.select_related("authority", "replaced_by").order_by("-pk")
