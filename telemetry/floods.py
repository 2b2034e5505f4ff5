"""Budgets: how much a device, and all devices of a tenant, may send. Counted in each process for itself.

A device over its own budget costs its tenant nothing: only what its own bucket lets through is taken from the tenant's.
A tenant over its budget does not silence those of its devices that keep within their fair share (`buckets.Shares`).
"""

import math
import threading
from dataclasses import dataclass, field

from devices.auditing import WARNING, Found
from devices.registry import Known
from telemetry.buckets import LARGEST, Bucket, Shares

FLOOD, FLOOD_TENANT = "flood", "flood_tenant"
"""Kinds of findings."""
TELL_SECONDS = 60.0
"""A flood is told of at most so often; in between it is counted."""
SAMPLES = 2
"""Messages of a flood that become dead letters, of all that are not taken between two tellings."""


@dataclass(slots=True)
class _Tenant:
    bucket: Bucket
    shares: Shares


@dataclass(slots=True)
class _Excess:
    """What was not taken since it was last told."""

    kind: str
    device_pk: int | None
    subject: str
    bucket: Bucket
    since: float
    level: float
    """What was in the bucket then."""
    told_at: float = -math.inf
    refused: int = 0
    samples: int = 0

    def found(self, now: float) -> Found:
        """As a finding."""
        budget, seconds = self.bucket.per_minute, now - self.since
        whose = "its devices' budget together" if self.kind == FLOOD_TENANT else "its budget"
        text = f"{self.refused:,} messages, each of one reading or more, were not taken: {whose} is {budget:,} a minute"
        if seconds >= 1:
            taken = max(self.level - self.bucket.level + seconds * budget / 60, 0)
            text += f", and at least {round((taken + self.refused) * 60 / seconds):,} readings came"
        return Found(self.kind, f"{text}.", WARNING, self.device_pk, self.subject)


@dataclass(slots=True)
class Tab:
    """What a batch cost and added to floods: all of it is undone when the batch is not stored."""

    now: float
    """Monotonic seconds: its buckets are filled once."""
    paid: list[tuple[Bucket, float, _Tenant, float, int, int]] = field(default_factory=list)
    """A device's bucket and what was taken from it, the same of its tenant, its pk and readings."""
    refused: list[_Excess] = field(default_factory=list)
    """One for each message."""
    samples: list[_Excess] = field(default_factory=list)
    told: list[tuple[_Excess, int]] = field(default_factory=list)
    """With so many messages."""


class Floods:
    """The buckets of this process. A message that finds its device's or tenant's bucket in debt is not taken.

    It is not settled either: an honest device that empties its buffer keeps what is over its budget and sends it
    again later, so nothing confirmed is lost. A sample becomes dead letters (reason `flood`). Safe to use from any
    thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._devices: dict[int, Bucket] = {}
        self._tenants: dict[int, _Tenant] = {}
        self._excess: dict[tuple[str, int], _Excess] = {}
        self._tidy_at = 0.0

    def admit(self, device: Known, tab: Tab) -> bool:
        """May this message be taken apart? Charges one reading."""
        now = tab.now
        with self._lock:
            own = self._devices.get(device.pk)
            if own is None:
                own = self._devices[device.pk] = Bucket(device.telemetry_per_minute, now)
            elif own.at != now:
                own.fill(device.telemetry_per_minute, now)
            if own.level < 1:
                self._refuse(FLOOD, device, own, tab)
                return False
            tenant, budget = self._tenants.get(device.tenant_pk), device.tenant_telemetry_per_minute
            if tenant is None:
                tenant = self._tenants[device.tenant_pk] = _Tenant(Bucket(budget, now), Shares(now))
            elif tenant.bucket.at != now:
                tenant.bucket.fill(budget, now)
                tenant.shares.turn(now, budget)
            if tenant.bucket.level < 1:
                tenant.shares.take(device.pk, 0)
                if not tenant.shares.has_room(device.pk, budget):
                    self._refuse(FLOOD_TENANT, device, tenant.bucket, tab)
                    return False
            own.level -= 1  # there is one in it
            tab.paid.append((own, 1, tenant, tenant.bucket.take(1), device.pk, 1))
            tenant.shares.sent[device.pk] = tenant.shares.sent.get(device.pk, 0) + 1
            return True

    def charge(self, device: Known, readings: int, tab: Tab) -> None:
        """So many more readings were in it: an array is taken whole, and its device pays afterwards."""
        readings = min(readings, LARGEST - 1)
        with self._lock:
            own, tenant = self._devices.get(device.pk), self._tenants.get(device.tenant_pk)
            if own and tenant:
                tab.paid.append((own, own.take(readings), tenant, tenant.bucket.take(readings), device.pk, readings))
                tenant.shares.take(device.pk, readings)

    def undo(self, tab: Tab) -> None:
        """The batch is not stored, and comes again as a whole: it is as if it had never been."""
        with self._lock:
            for own, of_own, tenant, of_tenant, device_pk, readings in tab.paid:
                own.give_back(of_own)
                tenant.bucket.give_back(of_tenant)
                tenant.shares.take(device_pk, -readings)
            # Another batch may have told of them meanwhile.
            for excess in tab.refused:
                excess.refused = max(excess.refused - 1, 0)
            for excess in tab.samples:
                excess.samples = max(excess.samples - 1, 0)

    def is_sample(self, device: Known, tab: Tab) -> bool:
        """Is this message, which was not taken, one of the few that become dead letters?"""
        with self._lock:
            for key in ((FLOOD, device.pk), (FLOOD_TENANT, device.tenant_pk)):
                excess = self._excess.get(key)
                if excess and excess.refused and excess.samples < SAMPLES:
                    excess.samples += 1
                    tab.samples.append(excess)
                    return True
        return False

    def wait(self, device_pk: int, tenant_pk: int, now: float) -> int:
        """When to come again: in 1 second or more."""
        with self._lock:
            own, tenant = self._devices.get(device_pk), self._tenants.get(tenant_pk)
            waits = [each.wait(now) for each in (own, tenant and tenant.bucket) if each]
        return math.ceil(max([1.0, *waits]))

    def report(self, tab: Tab) -> list[Found]:
        """Floods to tell of, each at most every `TELL_SECONDS`; after the commit they are `settle`d.

        Call it once a batch: it also forgets full buckets.
        """
        with self._lock:
            if tab.now >= self._tidy_at:
                self._tidy(tab.now)
            due = [each for each in self._excess.values() if each.refused and tab.now - each.told_at >= TELL_SECONDS]
            tab.told = [(excess, excess.refused) for excess in due]
            return [excess.found(tab.now) for excess in due]

    def settle(self, tab: Tab) -> None:
        """What was reported is told, for good: the batch is stored."""
        with self._lock:
            for excess, refused in tab.told:
                excess.told_at, excess.since, excess.level = tab.now, tab.now, excess.bucket.level
                excess.refused, excess.samples = max(excess.refused - refused, 0), 0

    def _refuse(self, kind: str, device: Known, bucket: Bucket, tab: Tab) -> None:
        of_device = kind == FLOOD
        key = (kind, device.pk if of_device else device.tenant_pk)
        excess = self._excess.get(key)
        if excess is None:
            pk, subject = (device.pk, "") if of_device else (None, device.tenant)
            excess = self._excess[key] = _Excess(kind, pk, subject, bucket, tab.now, bucket.level)
        excess.bucket = bucket  # a full one was forgotten meanwhile
        excess.refused += 1
        tab.refused.append(excess)

    def _tidy(self, now: float) -> None:
        """Forget what is as if it had never been: full buckets, minutes that are over, floods that ended."""
        self._tidy_at = now + TELL_SECONDS
        self._devices = {pk: each for pk, each in self._devices.items() if not each.is_full(now)}
        self._tenants = {pk: each for pk, each in self._tenants.items() if not each.bucket.is_full(now)}
        over = [key for key, each in self._excess.items() if not each.refused and now - each.told_at >= TELL_SECONDS]
        for key in over:
            del self._excess[key]


of_this_process = Floods()
