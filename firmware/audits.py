"""Audits of firmware: releases nobody vouches for any more, keys that run out, a permit key that is lost."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q

from devices.auditing import CRITICAL, WARNING, Audit, Found
from devices.errors import CertificateError
from devices.models import Event
from devices.runbooks import INDEX
from firmware import permits, trust
from firmware.models import Campaign, Release, TrustedKey, Verified
from firmware.states import UNDER_WAY, CampaignState

SOON = timedelta(days=30)
"""A key that no other follows is told of so long before it expires."""


def unsigned(now: datetime) -> Iterable[Found]:
    """Releases in use whose signatures are no longer good, or whose file is gone: campaigns first, then devices."""
    going = Campaign.objects.filter(state__in=[CampaignState.SCHEDULED, *UNDER_WAY], release__isnull=False)
    under_way = set(going.values_list("release_id", flat=True))
    running = Exists(Verified.objects.filter(release=OuterRef("pk")))
    rows = Release.objects.filter(Q(pk__in=under_way) | Q(running))
    for release, urgent in ((row, row.pk in under_way) for row in rows.order_by("pk")):
        if reasons := trust.check_release(release, now, approved=True):
            what = "a campaign is under way with it" if urgent else "devices run it"
            text = f"Release {release.version}: {what}. {' '.join(reasons)}"
            severity = CRITICAL if urgent else WARNING
            yield Found("firmware_unsigned", text, severity, subject=f"release:{release.pk}")


def expiring(now: datetime) -> Iterable[Found]:
    """Keys that expire soon, or have, and that no other key of the same scope follows."""
    rows = TrustedKey.objects.filter(revoked_at__isnull=True).prefetch_related("device_types")
    keys = list(rows.order_by("not_after"))
    lasting = [_scope(key) for key in keys if key.not_after > now + SOON]
    covered: set[int] = set().union(*lasting)
    for key in keys:
        scope = _scope(key)
        followed = not all(lasting) or (scope and scope <= covered)
        if key.not_after > now + SOON or followed:
            continue
        over = key.not_after <= now
        text = f"The key {key} {'expired' if over else 'expires'} on {key.not_after:%Y-%m-%d}, and no other follows it."
        yield Found("firmware_key_expiring", text, CRITICAL if over else WARNING, subject=f"key:{key.pk}")


def permit_key(_: datetime) -> Iterable[Found]:
    """The portal's own key cannot be opened: no device could be led back to an older version."""
    if not Event.objects.filter(kind=permits.MADE).exists():
        return
    try:
        permits.public_key(make=False)
    except CertificateError as error:
        yield Found("permit_key_unavailable", error.detail, CRITICAL)


def _scope(key: TrustedKey) -> set[int]:
    """Device types it signs for; empty: all."""
    return {each.pk for each in key.device_types.all()}


AUDITS = (
    Audit("firmware-signatures", ("firmware_unsigned",), unsigned),
    Audit("firmware-keys", ("firmware_key_expiring",), expiring),
    Audit("permit-key", ("permit_key_unavailable",), permit_key),
)
RUNBOOKS = {"firmware_unsigned": INDEX, "firmware_key_expiring": INDEX, "permit_key_unavailable": INDEX}
"""For devices/runbooks.py: the page of each kind."""
