"""What should they run?"""

from typing import Any

from django.apps import AppConfig

UPDATES = 20
"""Updates on a device's page; the list of updates has the rest."""


class FirmwareConfig(AppConfig):
    """Registers this room's tiles, panel, audits and kinds of finding."""

    name = "firmware"

    def ready(self) -> None:
        """Tiles link to the filtered list behind their figure."""
        from devices import runbooks
        from devices.auditing import add_audit
        from devices.models import Device
        from devices.panels import Panel, Tile, add_panel, add_tile
        from firmware import advancing, audits
        from firmware.models import Campaign, Hold, Stop, Update, Verified
        from firmware.states import ACTIVE, CampaignState

        running = Campaign.objects.filter(state__in=[CampaignState.RUNNING, CampaignState.ROLLING_BACK])
        add_tile(Tile("Campaigns running", "firmware/campaign/?state__in=running,rolling_back", running.count, "good"))
        states = ",".join(ACTIVE)
        flying = f"firmware/update/?state__in={states}&offered_at__isnull=0"
        add_tile(Tile("Updates under way", flying, Update.objects.active().count, "info"))
        halted = Campaign.objects.filter(state__in=[CampaignState.PAUSED, CampaignState.ROLLBACK_INCOMPLETE])
        look = "firmware/campaign/?state__in=paused,rollback_incomplete"
        add_tile(Tile("Campaigns to look at", look, halted.count, "bad"))
        stops = Stop.objects.filter(open=True)
        add_tile(Tile("All firmware stopped", "firmware/stop/?open__exact=1", stops.count, "bad"))

        def panel(device: Device) -> dict[str, Any]:
            updates = Update.objects.filter(device=device).select_related("campaign", "release", "campaign__release")
            return {
                "verified": Verified.objects.filter(device=device).select_related("release").first(),
                "updates": updates.order_by("-pk")[:UPDATES],
                "holds": Hold.objects.filter(device=device, cleared_at__isnull=True).order_by("-pk")[:UPDATES],
            }

        add_panel(Panel("firmware", "Firmware", "admin/firmware/device.html", panel, order=20))
        for audit in audits.AUDITS:
            add_audit(audit)
        kinds = (advancing.STOPPED, advancing.STUCK, advancing.INCOMPLETE)
        campaigns = dict.fromkeys(kinds, runbooks.BAD_RELEASE)
        runbooks.add_kinds(audits.RUNBOOKS | campaigns)
