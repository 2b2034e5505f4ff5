"""Who is out there?"""

from django.apps import AppConfig
from django.utils import timezone

SUCCESSION = 50
"""Certificates on a device's page; the list of certificates has the rest."""


class DevicesConfig(AppConfig):
    """Registers this room's tiles and panels."""

    name = "devices"

    def ready(self) -> None:
        """Tiles link to the filtered list behind their figure."""
        from devices import (
            tenancy,  # noqa: F401 (registers its system check)
            tokens,
        )
        from devices.models import Approval, Certificate, Device, Finding
        from devices.panels import Panel, Tile, add_panel, add_tile

        add_tile(Tile("Devices", "devices/device/", Device.objects.count))
        online = Device.objects.online()
        add_tile(Tile("Online", "devices/device/?presence__online__exact=1", online.count, "good"))
        away = Device.objects.in_service().filter(presence__online=False)
        add_tile(Tile("Offline", "devices/device/?state__exact=active&presence__online__exact=0", away.count, "bad"))
        findings = Finding.objects.filter(resolved_at__isnull=True)
        critical = findings.filter(severity=Finding.Severity.CRITICAL)
        add_tile(
            Tile(
                "Open findings",
                "devices/finding/?resolved_at__isempty=1",
                findings.count,
                lambda: "bad" if critical.exists() else "warning",
            )
        )
        waiting = Approval.objects.filter(state="pending")
        add_tile(Tile("Waiting for approval", "devices/approval/?state__exact=pending", waiting.count, "warning"))
        pending = Certificate.objects.filter(state="pending")
        add_tile(Tile("Certificates not yet seen", "devices/certificate/?state__exact=pending", pending.count))
        add_panel(
            Panel(
                "certificates",
                "Certificates",
                "admin/devices/device/certificates.html",
                lambda device: {"certificates": device.certificates.succession()[:SUCCESSION]},
            )
        )
        add_panel(
            Panel(
                "tokens",
                "Tokens",
                "admin/devices/device/tokens.html",
                lambda device: {"tokens": tokens.newest(device, timezone.now())},
            )
        )
        add_panel(
            Panel(
                "timeline",
                "Time line",
                "admin/devices/device/timeline.html",
                lambda device: {"events": device.events.order_by("-id")[:50]},
            )
        )
