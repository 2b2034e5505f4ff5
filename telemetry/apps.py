"""What do they say?"""

from datetime import timedelta
from typing import Any

from django.apps import AppConfig
from django.utils import timezone


class TelemetryConfig(AppConfig):
    """Registers this room's tiles and panels."""

    name = "telemetry"

    def ready(self) -> None:
        """The dead letters' tile counts the last day; the device page gets its chart."""
        from devices.models import Device
        from devices.panels import Panel, Tile, add_panel, add_tile
        from telemetry import charts
        from telemetry.models import DeadLetter, Latest

        def recent() -> int:
            return DeadLetter.objects.filter(received_at__gte=timezone.now() - timedelta(days=1)).count()

        def fresh() -> int:
            return Latest.objects.filter(received_at__gte=timezone.now() - timedelta(minutes=2)).count()

        add_tile(Tile("Heard in 2 min", "telemetry/latest/", fresh, "good"))
        add_tile(Tile("Dead letters, 24 h", "telemetry/deadletter/", recent, "bad"))

        def live(device: Device) -> dict[str, Any]:
            latest = Latest.objects.filter(device=device).first()
            return {"latest": latest, "values": charts.shown(latest) if latest else []}

        add_panel(Panel("live", "Live", "admin/devices/device/live.html", live, order=10))
