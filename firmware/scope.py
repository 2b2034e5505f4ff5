"""The scope of a campaign: whom it is for, as it was approved, and whether that is still so."""

import hashlib
import json
from typing import Any

from firmware.models import Campaign, Verdict

OUTGROWN = (
    "Whom it is for was changed after it started, and nobody approved that. Put it back (the groups of its ring, its "
    "filters), or abort it and have a new campaign approved."
)


def whom(campaign: Campaign) -> dict[str, Any]:
    """Every filter, and which groups its ring has."""
    return {
        "whom": {
            name: sorted(getattr(campaign, name).values_list("pk", flat=True))
            for name in ("tenants", "groups", "sites")
        },
        "tags": sorted(campaign.tags),
        "versions": sorted(campaign.versions),
        "ring": campaign.ring and [campaign.ring.pk, sorted(campaign.ring.groups.values_list("pk", flat=True))],
    }


def frozen(campaign: Campaign) -> str:
    """SHA-256 (hex) of whom it is for: kept at the start, as a continuous campaign asks again and again."""
    release = campaign.release
    types = release.device_types.values_list("pk", flat=True) if release else ()
    tenants = release.tenants.values_list("pk", flat=True) if release else ()
    return digest(whom(campaign) | {"release": [campaign.release_id, sorted(types), sorted(tenants)]})


def is_outgrown(campaign: Campaign) -> bool:
    """Would a continuous campaign take in devices that nobody approved, as its ring or filters have changed since?"""
    if not campaign.continuous:
        return False
    started = Verdict.objects.filter(campaign=campaign, action="start").order_by("-pk")
    kept = started.values_list("figures__scope", flat=True).first()
    return kept is not None and kept != frozen(campaign)


def digest(told: dict[str, Any]) -> str:
    """SHA-256 (hex) of a document, the same in whatever order it was told."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
