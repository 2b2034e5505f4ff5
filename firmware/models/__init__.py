"""Rows about what devices should run, one noun a file."""

from firmware.models.campaign import Campaign, Ring, Stage, Stop
from firmware.models.hold import Hold
from firmware.models.key import TrustedKey, UploadToken
from firmware.models.release import Artifact, Compatibility, Release, Signature
from firmware.models.update import Report, Update, Verified
from firmware.models.verdict import Verdict

__all__ = [
    "Artifact",
    "Campaign",
    "Compatibility",
    "Hold",
    "Release",
    "Report",
    "Ring",
    "Signature",
    "Stage",
    "Stop",
    "TrustedKey",
    "Update",
    "UploadToken",
    "Verdict",
    "Verified",
]
