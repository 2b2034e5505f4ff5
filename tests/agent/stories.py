"""Renewals as tables: what happened, in order, and what came of it."""

from agent.rotation import IDLE, Rotation, step
from agent.rotation_messages import Asked, InUse, Message, Requested
from agent.term import Term
from devices.contract import IssuedCertificate

NOW = 1_760_000_000.0
HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
TERM = Term("aa", NOW + 100, 10.0)
FRESH = Term("bb", NOW + 500, 10.0, unproven=True)
ISSUED = IssuedCertificate("leaf", "chain")


def story(*messages: Message, state: Rotation = IDLE, now: float = NOW) -> tuple[Rotation, list[object]]:
    """The end of it, and everything that was wanted."""
    said: list[object] = []
    for message in messages:
        state, effects = step(state, message, now)
        said += effects
    return state, said


OPEN = story(InUse(TERM), Asked("aa"), Requested("csr", online=True))[0]
