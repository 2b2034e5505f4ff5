"""What happened to a device, in its owner's words."""

from devices.templatetags.fleet import words

_REPORTED = "reported."
_SAID = {
    "device.registered": "Registered",
    "device.enrolled": "Joined",
    "device.online": "Came online",
    "device.offline": "Went offline",
    "device.edited": "Name, place or tags changed",
    "device.quarantined": "Put into quarantine",
    "device.released": "Let out of quarantine",
    "device.decommissioned": "Taken out of service",
    "device.replaced": "Replaced by another device",
    "device.replaces": "Took the place of another device",
    "claim_code.redeemed": "Added by its claim code",
    "certificate.issued": "Got a new certificate",
    "certificate.proven": "Uses its new certificate",
    "certificate.revoked": "Certificate revoked",
    "certificate.recovered": "Came back with a certificate that had ended",
    "token.made": "Access token made",
    "token.first_used": "Access token used for the first time",
    "token.rotated": "Access token replaced",
    "token.revoked": "Access token revoked",
    "hold.cleared": "May be updated again",
}


def said(kind: str) -> str:
    """A kind of event as a sentence without an end. What the device itself reported is told as its own word."""
    if kind.startswith(_REPORTED):
        return f"The device reported: {words(kind.removeprefix(_REPORTED)).lower()}"
    return _SAID.get(kind) or words(kind)
