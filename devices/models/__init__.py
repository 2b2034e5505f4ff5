"""Rows about who is out there, one noun a file."""

from devices.models.app import RepeatedRequest, SigningKey, SpentToken
from devices.models.approval import Approval
from devices.models.authority import Authority
from devices.models.certificate import Certificate
from devices.models.claim import Claim
from devices.models.claim_code import ClaimCode
from devices.models.device import Device, DeviceType, Group, Presence
from devices.models.evidence import Event, Finding, Suppression
from devices.models.person import ApiToken, Invitation, Preference, SavedView
from devices.models.renewal import Renewal
from devices.models.tenant import MaintenanceWindow, Membership, Site, Tenant
from devices.models.token import DeviceToken

__all__ = [
    "ApiToken",
    "Approval",
    "Authority",
    "Certificate",
    "Claim",
    "ClaimCode",
    "Device",
    "DeviceToken",
    "DeviceType",
    "Event",
    "Finding",
    "Group",
    "Invitation",
    "MaintenanceWindow",
    "Membership",
    "Preference",
    "Presence",
    "Renewal",
    "RepeatedRequest",
    "SavedView",
    "SigningKey",
    "Site",
    "SpentToken",
    "Suppression",
    "Tenant",
]
