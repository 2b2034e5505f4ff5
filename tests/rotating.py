"""A fleet of short-lived certificates, watched while it rotates: told by the database, the broker and the CRL."""

import re
from datetime import UTC, datetime

from cryptography import x509

from tests.fleet import Fleet, eventually
from tests.swarm import Swarm, stored

_REFUSED = re.compile(r"OpenSSL Error.*(certificate|alert|verify)|not authorised|bad username", re.IGNORECASE)


def rotations(fleet: Fleet, count: int) -> int:
    """How many rotations the slowest of `count` devices has behind it: certificates that it proved, less the first."""
    rows = fleet.sql(
        "SELECT count(*) FROM devices_certificate WHERE first_seen_at IS NOT NULL GROUP BY device_id ORDER BY 1"
    )
    return rows[0][0] - 1 if len(rows) == count else -1


def online(fleet: Fleet) -> int:
    """Devices that are online."""
    return fleet.sql("SELECT count(*) FROM devices_presence WHERE online")[0][0]


def refused(fleet: Fleet) -> list[str]:
    """Connections that the broker refused, by its own log."""
    folder = fleet.var / "log"
    lines = [line for log in folder.glob("mosquitto.log*") for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if _REFUSED.search(line)]


def open_issued(fleet: Fleet) -> int:
    """Renewals in the dangerous middle: a new certificate is out, and nobody has seen it in use."""
    return fleet.sql("SELECT count(*) FROM devices_renewal WHERE state = 'issued'")[0][0]


def revoked_serials(fleet: Fleet) -> set[str]:
    """What the list the broker uses names."""
    crl = x509.load_pem_x509_crl((fleet.var / "broker" / "crl.pem").read_bytes())
    return {f"{entry.serial_number:x}" for entry in crl}


def check_order(fleet: Fleet) -> int:
    """No certificate was taken out of use before its successor was seen, and all that were are on the CRL.

    Returns how many were taken out of use.
    """
    retired = fleet.sql(
        "SELECT old.serial, old.revoked_at, new.first_seen_at, old.not_after, old.reason FROM devices_certificate old"
        " LEFT JOIN devices_certificate new ON new.id = old.replaced_by_id WHERE old.revoked_at IS NOT NULL"
    )
    for serial, revoked_at, seen_at, _until, reason in retired:
        assert reason == "superseded" and seen_at is not None and seen_at < revoked_at, serial
    now = datetime.now(UTC)
    due = {serial for serial, _at, _seen, until, _ in retired if until > now}
    eventually(lambda: due - {*_expired(fleet)} <= revoked_serials(fleet), what="retired certificates on the CRL")
    listed = revoked_serials(fleet)
    assert listed <= {
        row[0] for row in fleet.sql("SELECT serial FROM devices_certificate WHERE revoked_at IS NOT NULL")
    }
    return len(retired)


def _expired(fleet: Fleet) -> set[str]:
    return {row[0] for row in fleet.sql("SELECT serial FROM devices_certificate WHERE not_after <= now()")}


def survive(fleet: Fleet, folder, count: int, lifetime: float, interval: float) -> None:
    """`count` devices live through three rotations, and through a power cut in the middle of the second.

    `lifetime` in seconds is what the fleet's certificates were set to. Nobody is refused, nobody is lost, and what
    was sent is stored.
    """
    swarm = Swarm(fleet, folder, count, interval)
    try:
        eventually(lambda: rotations(fleet, count) >= 0, 60 + count, every=1, what="all enrolled and seen")
        eventually(lambda: rotations(fleet, count) >= 1, lifetime * 2, every=0.5, what="the first rotation")
        assert swarm.refused() == 0
        eventually(lambda: open_issued(fleet) >= min(count // 50, 10), lifetime * 2, every=0.02, what="the middle")
        caught = open_issued(fleet)
        swarm.lose_power()
        swarm = Swarm(fleet, folder, count, interval)
        eventually(lambda: rotations(fleet, count) >= 2, lifetime * 2 + 60, every=0.5, what="the second rotation")
        eventually(lambda: rotations(fleet, count) >= 3, lifetime * 2, every=0.5, what="the third rotation")
        eventually(lambda: online(fleet) == count, 60, what="nobody is lost")
        assert swarm.refused() == 0
    finally:
        swarm.stop()
    assert refused(fleet) == [], refused(fleet)[:5]
    retired = check_order(fleet)
    assert retired >= count * 2, "the old certificates of two rotations at least are out of use"
    failed = fleet.sql("SELECT detail, count(*) FROM devices_renewal WHERE state = 'failed' GROUP BY detail")
    assert failed == [], failed
    proven, asked = fleet.sql(
        "SELECT count(*) FILTER (WHERE state = 'proven'), count(*) FILTER (WHERE asked_at IS NOT NULL)"
        " FROM devices_renewal"
    )[0]
    quiet = Swarm(fleet, folder, count, interval=3600)
    try:
        eventually(lambda: quiet.made() - stored(fleet) == set(), 120, every=1, what="stored = sent")
    finally:
        quiet.stop()
    print(
        f"{count} devices, certificates of {lifetime:.0f} s: {proven} renewals proven ({asked} asked), {retired} old"
        f" certificates retired, power lost with {caught} renewals half done; refused connections 0, lost devices 0,"
        f" {len(quiet.made())} messages stored"
    )
