"""Rows about who is out there, one noun a file."""

from devices.models.authority import Authority
from devices.models.certificate import Certificate
from devices.models.claim import Claim
from devices.models.device import Device, DeviceType, Group, Presence
from devices.models.evidence import Event, Finding
from devices.models.tenant import MaintenanceWindow, Membership, Site, Tenant

__all__ = [
    "Authority",
    "Certificate",
    "Claim",
    "Device",
    "DeviceType",
    "Event",
    "Finding",
    "Group",
    "MaintenanceWindow",
    "Membership",
    "Presence",
    "Site",
    "Tenant",
]
