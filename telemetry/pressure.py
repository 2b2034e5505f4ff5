"""How far behind ingest is, from what its sessions and the broker say of themselves. Pure: `now` is an argument.

A session holds what it has received and not stored, at most what the broker may have in flight to it. While that is
full, the rest waits at the broker, and only there is seen how long the queue is. Times are epoch seconds, as they go
from process to process.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from devices.auditing import CRITICAL, WARNING

STALE_SECONDS = 15.0
"""A session that has told nothing for so long is served by nobody."""
BEHIND_SECONDS, FAR_BEHIND_SECONDS = 60.0, 900.0
STUCK_SECONDS = 60.0
"""Nothing stored for so long while messages wait: not ready."""
DROPPED_SECONDS = 900.0
"""The broker dropped messages, until so long after the last one."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a session says of itself every second."""

    at: float
    """When."""
    unacked: int
    """Messages received and not yet stored and acknowledged."""
    oldest: float
    """When the oldest of them was received; `at` where there is none."""
    stored_at: float
    """When it last stored something, or had nothing to store."""
    full: bool
    """As many are in flight as may be: what else there is waits at the broker."""
    per_second: float
    """Messages stored a second, lately."""
    away: float = 0.0
    """For how long the database has been away; 0: it is there."""


@dataclass(frozen=True, slots=True)
class Broker:
    """What the broker says of itself."""

    at: float
    queued: int = 0
    """Messages it keeps for its clients, sent and not acknowledged ones too; without retained ones."""
    retained: int = 0
    size: int = 0
    """Bytes of all messages it keeps."""
    dropped: int = 0
    """Messages dropped since it started, as a client's queue was full."""
    dropped_at: float = 0.0
    """When that was last seen to grow."""
    clients: int = 0
    """Connected clients, the portal's own too."""


def waited(lines: Iterable[Line], broker: Broker | None, now: float) -> float:
    """For how long (s) the oldest message has been waiting, or one that comes now will wait."""
    told = list(lines)
    longest = [now - line.oldest for line in told if line.unacked]
    longest += [now - line.at for line in told if now - line.at > STALE_SECONDS]  # its share waits at the broker
    full = [line for line in told if line.full]
    speed = sum(line.per_second for line in full)
    if broker and speed:
        longest.append(broker.queued / speed)
    return max([0.0, *longest])


def waiting(lines: Iterable[Line], broker: Broker | None) -> int:
    """How many messages wait, as far as anybody can see."""
    told = list(lines)
    received = sum(line.unacked for line in told)
    # With room in every session, what the broker keeps is for others: devices that are offline.
    return max(received, broker.queued) if broker and any(line.full for line in told) else received


def stuck(lines: Iterable[Line], now: float) -> float:
    """For how long (s) nothing was stored of what has been received; 0 where nothing waits."""
    return max([0.0, *(now - line.stored_at for line in lines if line.unacked)])


def severity(seconds: float) -> str | None:
    """How bad it is that messages wait so long; None: it is not."""
    if seconds > FAR_BEHIND_SECONDS:
        return CRITICAL
    return WARNING if seconds > BEHIND_SECONDS else None


def counted(before: Broker | None, seen: Broker) -> Broker:
    """What is seen now, with the time of the last drop: now, where the count has grown; a broker begins at 0 again."""
    known = before.dropped if before and before.dropped <= seen.dropped else 0
    last = seen.at if seen.dropped > known else (before.dropped_at if before else 0.0)
    return replace(seen, dropped_at=last)


def is_dropping(broker: Broker | None, now: float) -> bool:
    """Did the broker drop messages, lately?"""
    return broker is not None and broker.dropped_at > 0 and now - broker.dropped_at < DROPPED_SECONDS
