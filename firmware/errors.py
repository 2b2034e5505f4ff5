"""The root of this room's domain errors."""

from devices.errors import DomainError


class FirmwareError(DomainError):
    """About a release, a campaign or an update. 409 where the state does not allow it."""

    code = "firmware_error"
    status = 409
