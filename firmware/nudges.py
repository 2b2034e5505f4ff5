"""What the portal says to devices about their updates: when it happens, and again at each birth while it is open."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import connection, transaction
from django.utils import timezone

from devices import contract
from devices.outgoing import publisher
from firmware import links, stopping
from firmware.models import Release, Stop, Update
from firmware.states import ACTIVE, BEFORE_INSTALL, CampaignState

EXPIRY_SECONDS = 300
"""A nudge nobody takes within this time is worthless: the next birth makes a new one."""
_AT_ONCE = 1000
# In the order in which reports take these rows; what is being reported on has been heard of already.
_NOTIFIED = """
    WITH told AS (
        SELECT id FROM firmware_update WHERE id = ANY(%(told)s) AND state = 'queued' AND offered_at IS NOT NULL
         ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE firmware_update u SET state = 'notified', changed_at = %(now)s FROM told WHERE u.id = told.id
"""


@dataclass(frozen=True, slots=True)
class _Content:
    """What is the same in every offer of a release."""

    release: Release
    device_types: list[str]
    signatures: list[contract.Signature]


def tell(updates: Iterable[Update]) -> None:
    """Publish each device's open offer, or that it is withdrawn. Call after the commit; losing it only delays.

    What is said is what the rows say now: of a campaign that is held back, and during the global stop, no offer is
    said. Only devices that are online over MQTT hear it; an offer that went out is NOTIFIED from then on. Where the
    process ends in between, it is said again by the next looks at the campaign (offers.py).
    """
    pks = sorted({row.pk for row in updates})
    for start in range(0, len(pks), _AT_ONCE):
        with transaction.atomic():
            stopping.enter()
            _tell(pks[start : start + _AT_ONCE])


def at_birth(device_pks: Iterable[int]) -> None:
    """Say again what is open for these devices, which came online just now."""
    pks = list(device_pks)
    if pks:
        tell(Update.objects.revocable().filter(device__in=pks).only("pk"))


def _tell(pks: list[int]) -> None:
    rows = (
        Update.objects.filter(pk__in=pks, offered_at__isnull=False)
        .filter(device__presence__online=True, device__presence__session__gte=0)
        .select_related("campaign", "device__tenant", "device__device_type")
    )
    stopped = Stop.objects.filter(ended_at__isnull=True).exists()
    found = list(rows)
    contents = {} if stopped else _contents(found)
    told = []
    for row in found:
        content = contents.get(row.release_id or 0)
        if row.state in BEFORE_INSTALL and content is not None and row.campaign.state == CampaignState.RUNNING:
            payload = _offer(row, content)
            told.append(row.pk)
        elif row.state not in ACTIVE:
            payload = contract.Offer(row.update_id, row.attempt, contract.OfferState.WITHDRAWN)
        else:
            continue  # it is being installed, or held back: nothing is to be said now
        device = row.device
        topic = contract.Topic(device.tenant.slug, device.device_type.slug, device.device_id, contract.OTA)
        publisher.publish(topic, payload, expiry_seconds=EXPIRY_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(_NOTIFIED, {"told": told, "now": timezone.now()})


def _contents(rows: Iterable[Update]) -> Mapping[int, _Content]:
    """By release (pk): each is read once, however many devices it is offered to."""
    asked = {row.release_id for row in rows if row.release_id is not None and row.state in BEFORE_INSTALL}
    releases = Release.objects.filter(pk__in=asked, artifact__isnull=False)
    return {
        release.pk: _Content(
            release,
            [each.slug for each in release.device_types.all()],
            [contract.Signature(each.key.fingerprint, each.signature) for each in release.artifact.signatures.all()],
        )
        for release in releases.select_related("artifact").prefetch_related("device_types", "artifact__signatures__key")
    }


def _offer(row: Update, content: _Content) -> contract.Offer:
    release = content.release
    # The link is good for a short time only, so it is made anew each time.
    return contract.Offer(
        row.update_id,
        row.attempt,
        contract.OfferState.OPEN,
        version=release.version,
        device_types=content.device_types,
        min_version=release.min_version,
        image=contract.Image(
            release.artifact.file_name,
            release.artifact.size,
            release.artifact.sha256,
            links.url(row),
            content.signatures,
        ),
        preconditions=contract.Preconditions(release.min_battery_percent, release.needs_mains, release.min_free_bytes),
        reboot_jitter_seconds=int(row.campaign.reboot_jitter.total_seconds()),
        download_attempts=min(max(row.campaign.download_attempts, 1), 100),
        rollback=contract.Permit(row.from_version, row.permit_key, row.permit) if row.permit else None,
    )
