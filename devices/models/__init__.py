"""Rows about who is out there, one noun a file."""

from devices.models.approval import Approval
from devices.models.authority import Authority
from devices.models.certificate import Certificate
from devices.models.claim import Claim
from devices.models.device import Device, DeviceType, Group, Presence
from devices.models.evidence import Event, Finding, Suppression
from devices.models.renewal import Renewal
from devices.models.tenant import MaintenanceWindow, Membership, Site, Tenant
from devices.models.token import DeviceToken

__all__ = [
    "Approval",
    "Authority",
    "Certificate",
    "Claim",
    "Device",
    "DeviceToken",
    "DeviceType",
    "Event",
    "Finding",
    "Group",
    "MaintenanceWindow",
    "Membership",
    "Presence",
    "Renewal",
    "Site",
    "Suppression",
    "Tenant",
]
