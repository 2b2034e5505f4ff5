"""Adjectives of releases, campaigns and updates: rules about many rows."""

from typing import TYPE_CHECKING, Any, Self

from django.apps import apps
from django.db.models import Exists, OuterRef, Q

from devices.models import Device
from devices.tenancy import ScopedQuerySet, sees_all
from firmware.reporting import TAKEN_BACK
from firmware.states import ACTIVE, BEFORE_INSTALL, FAILURES, UNDER_WAY, UpdateState

if TYPE_CHECKING:
    from firmware.models import Campaign, Release, Update  # noqa: F401 (named in quotes below)

FAILED = ~Q(reason_code=TAKEN_BACK) & (
    Q(state__in=[state for state in FAILURES if state != UpdateState.TIMED_OUT])
    | Q(state=UpdateState.TIMED_OUT, installing_at__isnull=False)
)
"""Updates that count as failures: not what the portal took back, nor what timed out before it installed anything."""


class ReleaseQuerySet(ScopedQuerySet["Release"]):
    """Releases, by adjective."""

    def ready(self) -> "ReleaseQuerySet":
        """Releases that may be rolled out."""
        return self.filter(state="ready")


class CampaignQuerySet(ScopedQuerySet["Campaign"]):
    """Campaigns, by adjective."""

    def visible_to(self, user: Any) -> Self:
        """As everywhere; a customer's are found from their own devices, or every update there is would be read."""
        if sees_all(user):
            return self.all()
        updates = apps.get_model("firmware", "Update")._base_manager
        mine = updates.filter(device__in=Device.objects.visible_to(user).values("pk"))
        return self.filter(pk__in=mine.values("campaign"))

    def under_way(self) -> "CampaignQuerySet":
        """Campaigns the sweep looks at."""
        return self.filter(state__in=UNDER_WAY)


class UpdateQuerySet(ScopedQuerySet["Update"]):
    """Updates, by adjective."""

    def visible_to(self, user: Any) -> Self:
        """As everywhere, without a look at the other customers' updates."""
        if sees_all(user):
            return self.all()
        return self.filter(device__in=Device.objects.visible_to(user).values("pk"))

    def planned(self) -> "UpdateQuerySet":
        """Not offered yet."""
        return self.filter(state=UpdateState.QUEUED, offered_at__isnull=True)

    def active(self) -> "UpdateQuerySet":
        """Offered and not ended: at most one a device."""
        return self.filter(state__in=ACTIVE, offered_at__isnull=False)

    def revocable(self) -> "UpdateQuerySet":
        """Offered, and nothing written yet: these can still be taken back."""
        return self.filter(state__in=BEFORE_INSTALL, offered_at__isnull=False)

    def failed(self) -> "UpdateQuerySet":
        """What counts against a campaign."""
        return self.filter(FAILED)

    def unmended(self) -> "UpdateQuerySet":
        """Failures after which the device was offered nothing else: a device has at most one."""
        updates = apps.get_model("firmware", "Update")._base_manager
        later = updates.filter(device=OuterRef("device"), pk__gt=OuterRef("pk"), offered_at__isnull=False)
        return self.filter(FAILED, ~Exists(later), state__in=FAILURES)
