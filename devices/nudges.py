"""What the portal says to devices about their rows: said when it happens, and again at each birth while it is open."""

from functools import partial
from typing import Any

from django.db import transaction

from devices import contract, renewals
from devices.models import Certificate
from devices.outgoing import publisher
from devices.registry import Known

EXPIRY_SECONDS = 300
"""A nudge nobody takes within this time is worthless: the next birth makes a new one."""


def tell(device: Known | renewals.Asked, channel: str, payload: Any) -> None:
    """Publish to one device."""
    topic = contract.Topic(device.tenant, device.device_type, device.device_id, channel)
    publisher.publish(topic, payload, expiry_seconds=EXPIRY_SECONDS)


def renew(device: Known | renewals.Asked, certificate: Certificate) -> None:
    """Ask a device for a request for its next certificate."""
    asked = contract.RenewCertificate(certificate.serial, int(certificate.not_after.timestamp() * 1000))
    tell(device, contract.CERTIFICATE_RENEW, asked)


def at_birth(device: Known, status: contract.Status) -> None:
    """After the commit, say again what is open: the renewal it was asked for, or the certificate it did not take."""
    row = renewals.open_for(device.pk)
    if row is None:
        return
    successor = row.successor
    used = status.certificate.serial if status.certificate else ""
    if successor is None:
        transaction.on_commit(partial(renew, device, row.certificate))
    elif used != successor.serial:
        issued = contract.IssuedCertificate(successor.pem, renewals.chain(successor))
        transaction.on_commit(partial(tell, device, contract.CERTIFICATE_ISSUED, issued))
