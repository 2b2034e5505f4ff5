"""Audits of the broker's doors: who may do what, who gets in, who knocks."""

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from devices.auditing import CRITICAL, Audit, Found
from operations import acl, handshakes, knocking, verdicts

# `id` grows with time, so the newest rows are found from the end of the primary key, and no more of them are read
# than were written within the time; the table has no index on time.
_BIRTHS = """
    SELECT device_id, array_agg(coalesce(detail->>'boot_id', '') ORDER BY id)
      FROM devices_event
     WHERE id > coalesce((SELECT id FROM devices_event WHERE recorded_at < %(since)s ORDER BY id DESC LIMIT 1), 0)
       AND kind = 'device.online' AND recorded_at >= %(since)s AND device_id IS NOT NULL
     GROUP BY device_id HAVING count(*) >= %(least)s
     ORDER BY device_id
"""


def takeovers(now: datetime) -> Iterator[Found]:
    """Devices that came online again and again: a bad network, or two that fight for one identity."""
    with connection.cursor() as cursor:
        cursor.execute(_BIRTHS, {"since": now - verdicts.BIRTHS_WITHIN, "least": verdicts.BIRTHS})
        rows = cursor.fetchall()
    minutes = verdicts.BIRTHS_WITHIN.seconds // 60
    for device, boots in rows:
        severity = verdicts.births(boots)
        if severity is None:
            continue
        twins = ", and boot ids take turns: two machines share its identity" if severity == CRITICAL else ""
        yield Found("takeovers", f"{len(boots)} births in {minutes} minutes{twins}.", severity, device)


def refused(now: datetime) -> Iterator[Found]:
    """Connections the broker refused lately, by its log."""
    count, accepted = handshakes.recent(now)
    if severity := verdicts.refusals(count, accepted):
        minutes = handshakes.WINDOW.seconds // 60
        detail = f"{count} of {count + accepted} connections were refused in {minutes} minutes."
        yield Found("handshakes_refused", detail, severity)


def broad_acl(_now: datetime) -> Iterator[Found]:
    """Lines of the broker's ACL that the portal did not write."""
    for line in acl.foreign((settings.BROKER_DIRECTORY / "acl").read_text()):
        opens = "opens what is another's" if line.severity == CRITICAL else "is not the portal's"
        yield Found("acl_broad", f"Line {line.number} {opens}: {line.line}", line.severity, subject=line.line)


def device_door(_now: datetime) -> list[Found] | None:
    """Does the devices' listener let somebody in without a certificate?"""
    host, port = _portal()[0], settings.DEVICE_MQTT_PORT
    # The name that devices know may lead nowhere from the portal's own network: then by the name the portal knows.
    for name in dict.fromkeys((settings.DEVICE_MQTT_HOST, host)):
        answers = [knocking.admits(name, port, tls=True), knocking.admits(name, port, tls=False)]
        if None not in answers:
            return _opened("device_door_open", f"{name}:{port}", any(answers))
    return None


def portal_door(_now: datetime) -> list[Found] | None:
    """Does the portal's own listener let somebody in without a password?"""
    host, port, tls = _portal()
    answer = knocking.admits(host, port, tls=tls)
    return None if answer is None else _opened("portal_door_open", f"{host}:{port}", answer)


def _portal() -> tuple[str, int, bool]:
    url = urlsplit(settings.MQTT_URL)
    return url.hostname or "localhost", url.port or 1883, url.scheme == "mqtts"


def _opened(kind: str, where: str, opened: bool | None) -> list[Found]:
    return [Found(kind, f"An anonymous client was let in at {where}.", CRITICAL)] if opened else []


AUDITS = [
    Audit("takeovers", ("takeovers",), takeovers, often=True),
    Audit("refused-handshakes", ("handshakes_refused",), refused, often=True),
    Audit("acl", ("acl_broad",), broad_acl, often=True),
    # Hourly: each knock is a refused connection in the broker's log.
    Audit("device-door", ("device_door_open",), device_door),
    Audit("portal-door", ("portal_door_open",), portal_door),
]
