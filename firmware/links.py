"""Links to artifacts: short-lived, signed, good for one update.

A link alone opens nothing: the door asks for the credential of the update's device as well.
"""

import re
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from devices.models import Device
from firmware.errors import FirmwareError
from firmware.models import Stop, Update
from firmware.states import ACTIVE, RANK, CampaignState, UpdateState

PATH = "/api/v1/artifacts/"
_SHAPE = re.compile(r"([0-9a-f]{32})-([0-9]{1,5})")
_MAX_LENGTH = 200


def url(update: Update) -> str:
    """Where this update's device fetches its image from, for the next LINK_SECONDS."""
    return f"{settings.DEVICE_HTTPS_URL.rstrip('/')}{PATH}{token(update)}"


def token(update: Update) -> str:
    """The last part of the link: update and attempt, when it was made, and our signature."""
    return _signer().sign(f"{update.update_id.hex}-{update.attempt}")


def read(token: str) -> Update:
    """The update behind a link, with its device, release and artifact.

    Raises `FirmwareError` (link_bad 403, link_expired 403, update_over 410).
    """
    try:
        value = _signer().unsign(token[: _MAX_LENGTH + 1], max_age=timedelta(seconds=settings.LINK_SECONDS))
    except SignatureExpired as error:
        raise FirmwareError("This link has expired. Ask for the update again.", "link_expired", 403) from error
    except BadSignature as error:
        raise bad() from error
    found = _SHAPE.fullmatch(value)
    if found is None:
        raise bad()
    rows = Update.objects.select_related("device", "campaign", "release__artifact")
    update = rows.filter(update_id=UUID(hex=found[1])).first()
    if update is None or update.release is None:
        raise bad()
    if update.state not in ACTIVE or update.offered_at is None or update.attempt != int(found[2]):
        raise _over()
    return update


def of_device(update_id: UUID, device: Device) -> Update:
    """This device's update, offered and not over. Raises `FirmwareError` (update_unknown 404, update_over 410)."""
    rows = Update.objects.select_related("campaign", "release__artifact")
    update = rows.filter(update_id=update_id, device=device, offered_at__isnull=False).first()
    if update is None:
        raise FirmwareError("There is no such update, or it is not yours.", "update_unknown", 404)
    if update.state not in ACTIVE:
        raise _over()
    return update


def wanted(update: Update) -> bool:
    """May its device go on now? From INSTALLING on it must; before, only while nothing holds its campaign back."""
    if RANK[UpdateState(update.state)] >= RANK[UpdateState.INSTALLING]:
        return True
    return update.campaign.state == CampaignState.RUNNING and not Stop.objects.filter(ended_at__isnull=True).exists()


def bad() -> FirmwareError:
    """What is said of a link that is not ours, and of another device's."""
    return FirmwareError("This link is not good, or not yours.", "link_bad", 403)


def _over() -> FirmwareError:
    return FirmwareError("This update is over.", "update_over", 410)


def _signer() -> TimestampSigner:
    return TimestampSigner(sep=".", salt="firmware.links")
