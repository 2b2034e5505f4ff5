"""What do they say?"""

from datetime import timedelta
from typing import Any

from django.apps import AppConfig
from django.utils import timezone


class TelemetryConfig(AppConfig):
    """Registers this room's tiles, panels and audits."""

    name = "telemetry"

    def ready(self) -> None:
        """The dead letters' tile counts the last day; the device page gets its chart."""
        from devices import runbooks
        from devices.auditing import add_audit
        from devices.models import Device
        from devices.panels import Panel, Tile, add_panel, add_tile
        from telemetry import audits, backlog
        from telemetry.charting import charts
        from telemetry.models import DeadLetter, Latest
        from telemetry.rolled import rollup_audits
        from telemetry.tables import partition_audits

        def recent() -> int:
            return DeadLetter.objects.filter(received_at__gte=timezone.now() - timedelta(days=1)).count()

        def fresh() -> int:
            return Latest.objects.filter(received_at__gte=timezone.now() - timedelta(minutes=2)).count()

        add_tile(Tile("Heard in 2 min", "telemetry/latest/", fresh, "good"))
        add_tile(Tile("Dead letters, 24 h", "telemetry/deadletter/", recent, "bad"))
        add_tile(Tile("Seconds behind", "devices/finding/?kind__exact=backlog", backlog.seconds, backlog.tone))

        def live(device: Device) -> dict[str, Any]:
            latest = Latest.objects.filter(device=device).first()
            return {"latest": latest, "values": charts.shown(latest) if latest else []}

        add_panel(Panel("live", "Live", "admin/devices/device/live.html", live, order=10))
        for audit in (*partition_audits.AUDITS, *rollup_audits.AUDITS, *audits.AUDITS):
            add_audit(audit)
        runbooks.add_kinds(partition_audits.RUNBOOKS | rollup_audits.RUNBOOKS | audits.RUNBOOKS)
        runbooks.add_kinds({"archive_failed": "archive.md"})
