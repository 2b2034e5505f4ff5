"""What a line of Mosquitto's log says about a connection. Pure; the lines were measured on 2.0.11.

The broker publishes its log to itself (`log_dest topic`), readable for the portal alone. Of a device that was let in
it says "New client connected from …"; of one that was refused, one of two things, depending on when it failed: the
reason behind "Client connection from … failed", or a line "OpenSSL Error[0]".
"""

import re

ACCEPTED, REFUSED = "accepted", "refused"

_LINE = re.compile(
    r"(?:\S+: )?(?:"
    r"New client connected from \S+ as .* \(.*u'(?P<user>[^']*)'\)\.?"
    r"|(?P<refused>Client connection from \S+ failed: error:(?P<why>.*)"
    r"|OpenSSL Error\[0\]: error:(?P<error>.*)"
    r"|Client .* disconnected[,:] not authorised\.?))"
)
# Whoever hangs up in the middle was not refused: a port probe, a load balancer, a device that lost its network. The
# line is the same for a device that vanished an hour after it was let in.
_HUNG_UP = "unexpected eof"


def verdict(line: str, portal_user: str) -> str | None:
    """ACCEPTED or REFUSED, or None for a line about something else, or about the portal's own connections."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    if found["refused"]:
        return None if _HUNG_UP in (found["why"] or found["error"] or "") else REFUSED
    return ACCEPTED if found["user"] != portal_user else None
