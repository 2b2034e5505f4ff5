"""Renewals: who is due, who is asked when, and the one certificate that comes of it. `rotation.py` decides, this acts.

The row is the truth, a message to a device only a nudge: it is sent again at each birth until the successor was seen.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from devices import authorities, certificates, evidence, pki, rotation
from devices.errors import CertificateError
from devices.models import Certificate, Device, Finding, Group, MaintenanceWindow, Renewal

_NEVER = Value(datetime(1970, 1, 1, tzinfo=UTC))
_LOCK = 0x4E0A  # advisory lock: the pace is counted by one worker at a time
_PLAN_BATCH = 5000
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A device to be told: its topic's parts, and which certificate is to be replaced."""

    tenant: str
    device_type: str
    device_id: str
    certificate: Certificate


# --- from the portal to the device ----------------------------------------------------------------------------------


def due(now: datetime, until: datetime | None = None) -> QuerySet[Certificate]:
    """Certificates in use that are inside their window (or will be `until` then), soonest end first.

    In use is what a device proved last, or the newest where it never proved one: a successor that was issued and never
    seen counts for nothing. Left out are devices with an open renewal, or one that failed a short while ago.
    """
    rank = Coalesce("last_seen_at", _NEVER)
    mine = Coalesce(OuterRef("last_seen_at"), _NEVER)
    newer = (
        Certificate.objects.trusted(now)
        .filter(device=OuterRef("device"))
        .annotate(rank=rank)
        .filter(Q(rank__gt=mine) | Q(rank=mine, pk__gt=OuterRef("pk")))
    )
    under_way = Renewal.objects.filter(device=OuterRef("device")).filter(
        Q(state__in=Renewal.OPEN) | Q(state=Renewal.State.FAILED, next_attempt_at__gt=now)
    )
    return (
        Certificate.objects.trusted(now)
        .filter(~Exists(newer), ~Exists(under_way), renew_at__lte=until or now, device__state=Device.State.ACTIVE)
        .select_related("device__presence", "device__tenant", "device__device_type")
        .order_by("not_after", "pk")
    )


def plan(now: datetime) -> int:
    """Open a renewal for every certificate that is due. Returns how many were opened; safe for two workers at once.

    Not where the issuing CA ends so soon that a new certificate would hardly outlive the present one: the fleet would
    renew ever faster, and gain nothing. That is the finding `ca_expiring`.
    """
    ends = authorities.signer_row().not_after
    worth_it = due(now).filter(not_after__lt=ends - settings.CERTIFICATE_LIFETIME / 10)
    rows = [
        Renewal(device_id=certificate.device_id, certificate=certificate, next_attempt_at=now)
        for certificate in worth_it[:_PLAN_BATCH]
    ]
    return _open(rows)


def request(devices: QuerySet[Device], user: Any, now: datetime, reason: str = "") -> int:
    """Open renewals for these devices now, whatever their certificates' age. Returns how many were opened."""
    newest = (
        Certificate.objects.trusted(now)
        .filter(device__in=devices.filter(state=Device.State.ACTIVE))
        .order_by("device_id", F("last_seen_at").desc(nulls_last=True), "-pk")
        .distinct("device_id")
    )
    rows = [
        Renewal(
            device_id=certificate.device_id,
            certificate=certificate,
            cause=Renewal.Cause.STAFF,
            requested_by=user,
            next_attempt_at=now,
        )
        for certificate in newest
    ]
    with transaction.atomic():
        opened = _open(rows)
        # One that is open already, or waits for its next attempt, is asked at once.
        Renewal.objects.filter(device__in=devices, state__in=Renewal.OPEN).update(next_attempt_at=now, attempts=0)
        evidence.record("renewal.requested", user=user, reason=reason, detail={"devices": len(rows)})
    return opened


def _open(rows: list[Renewal]) -> int:
    before = Renewal.objects.filter(device__in=[row.device_id for row in rows], state__in=Renewal.OPEN).count()
    Renewal.objects.bulk_create(rows, ignore_conflicts=True)
    return Renewal.objects.filter(device__in=[row.device_id for row in rows], state__in=Renewal.OPEN).count() - before


def ask(now: datetime) -> list[Asked]:
    """Choose who is asked now, within the pace and outside quiet times, and note that they were.

    Returns whom to tell after the commit. Each is chosen by one worker only, and counts towards the pace of the
    minute. Who was asked too often without success has failed, with a finding.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        _give_up(now)
        room, groups = _room(now)
        waiting = _waiting(now, {group for group, left in groups.items() if left <= 0}, room)
        candidates = [(row.pk, frozenset(group.pk for group in row.device.groups.all())) for row in waiting]
        chosen = set(rotation.paced(candidates, room, groups))
        asked = [row for row in waiting if row.pk in chosen]
        for row in asked:
            row.attempts += 1
            row.asked_at = now
            row.state = Renewal.State.ASKED if row.state == Renewal.State.DUE else row.state
            row.next_attempt_at = rotation.next_attempt(
                row.attempts, row.certificate.renew_at, row.certificate.not_after, now
            )
        Renewal.objects.bulk_update(asked, ["attempts", "asked_at", "state", "next_attempt_at"])
    return [_asked(row) for row in asked]


def _waiting(now: datetime, full: set[int], room: int) -> list[Renewal]:
    """Open renewals of devices that could be asked now, soonest end first, without those of a `full` group.

    What a quiet time holds back is left out in the query: it must not crowd out those behind it.
    """
    if room <= 0:
        return []
    freezes = MaintenanceWindow.objects.filter(kind=MaintenanceWindow.Kind.FREEZE)
    quiet = {window.group_id for window in freezes if window.is_open(now)}
    ready = (
        Renewal.objects.filter(
            state__in=Renewal.OPEN,
            next_attempt_at__lte=now,
            device__state=Device.State.ACTIVE,
            device__presence__online=True,
            device__presence__session__gte=0,  # one that speaks only HTTPS hears nothing over MQTT: it begins by itself
        )
        .exclude(device__groups__in=full)
        .select_related("certificate", "device__tenant", "device__device_type")
        .prefetch_related("device__groups")
        .order_by("certificate__not_after", "pk")
        # As they are now, until the commit: one that is issued or proven meanwhile must not become asked again.
        .select_for_update(skip_locked=True, of=("self",), no_key=True)
    )
    free = list(ready.exclude(device__groups__in=quiet)[: room * 2])
    members = Device.groups.through.objects.filter(group__in=quiet).values("device")
    held = ready.filter(device__in=members)[: room * 2] if quiet else []
    return free + [row for row in held if not _is_held(row, now)]


def _asked(row: Renewal) -> Asked:
    device = row.device
    return Asked(device.tenant.slug, device.device_type.slug, device.device_id, row.certificate)


def _room(now: datetime) -> tuple[int, dict[int, int]]:
    """How many may be asked now: in all, and of each group with a pace of its own."""
    recent = Renewal.objects.filter(asked_at__gt=now - _MINUTE)
    limits = dict(Group.objects.filter(renewals_per_minute__isnull=False).values_list("pk", "renewals_per_minute"))
    used = Counter(
        dict(
            recent.filter(device__groups__in=limits)
            .values_list("device__groups")
            .annotate(asked=Count("pk"))
            .order_by()
        )
    )
    return settings.RENEWALS_PER_MINUTE - recent.count(), {
        group: (limit or 0) - used[group] for group, limit in limits.items()
    }


def _is_held(row: Renewal, now: datetime) -> bool:
    """May a quiet time hold this renewal back? Not what staff ask for, nor one whose time runs out."""
    if row.cause == Renewal.Cause.STAFF:
        return False
    return not rotation.is_urgent(row.certificate.renew_at, row.certificate.not_after, now)


def _give_up(now: datetime) -> None:
    tired = Renewal.objects.filter(
        Q(attempts__gte=rotation.MAX_ATTEMPTS, next_attempt_at__lte=now)
        | Q(certificate__not_after__lte=now)
        | Q(certificate__revoked_at__isnull=False)
        | ~Q(device__state=Device.State.ACTIVE),
        state__in=Renewal.OPEN,
    ).select_related("certificate", "device")
    for row in tired[:_PLAN_BATCH]:
        certificate = row.certificate
        if row.device.state != Device.State.ACTIVE:
            why = f"The device is {row.device.get_state_display().lower()}."
        elif certificate.revoked_at is not None:
            why = "Its certificate was revoked."
        elif certificate.not_after <= now:
            why = "Its certificate expired before a new one was seen."
        else:
            step = "used the new certificate" if row.state == Renewal.State.ISSUED else "sent a request"
            why = f"Asked {row.attempts} times, and it never {step}."
        after = rotation.after_failure(certificate.renew_at, certificate.not_after, now)
        pointless = row.device.state != Device.State.ACTIVE or certificate.revoked_at is not None
        state = Renewal.State.CANCELLED if pointless else Renewal.State.FAILED
        changed = Renewal.objects.filter(pk=row.pk, state=row.state).update(
            state=state, ended_at=now, detail=why, next_attempt_at=after
        )
        if changed and not pointless:
            evidence.find("renewal_failed", why, device_pk=row.device_id, severity=Finding.Severity.CRITICAL)


def open_among(device_pks: Iterable[int]) -> set[int]:
    """Which of these devices have something that is to be said again when they come online."""
    rows = Renewal.objects.filter(device__in=set(device_pks), state__in=[Renewal.State.ASKED, Renewal.State.ISSUED])
    return set(rows.values_list("device_id", flat=True))


def open_for(device_pk: int) -> Renewal | None:
    """What is to be said again to a device that came online: its renewal that was asked or issued, if any."""
    return (
        Renewal.objects.filter(device=device_pk, state__in=[Renewal.State.ASKED, Renewal.State.ISSUED])
        .select_related("certificate", "successor__authority__issued_by")
        .first()
    )


# --- from the device to the portal ----------------------------------------------------------------------------------


def current(device: Device, now: datetime) -> Certificate | None:
    """The certificate a device most likely uses: the one proven last, else the newest."""
    rows = device.certificates.trusted(now).order_by("-pk")
    return rows.filter(last_seen_at__isnull=False).order_by("-last_seen_at").first() or rows.first()


def renew(
    device_pk: int,
    csr: x509.CertificateSigningRequest,
    now: datetime,
    *,
    presented: Certificate | None = None,
) -> Certificate:
    """Give a device its next certificate for a checked request; the same key asked again gives the same one.

    `presented` is the certificate it came with, where the door knows: an expired one is good within the grace for
    nothing but this, and raises a finding. Raises `CertificateError`: device_not_active (409), no_certificate (403),
    certificate_expired (403), and those of `certificates.issue`.
    """
    key = pki.key_fingerprint(csr.public_key())  # type: ignore[arg-type]  # read_request admits only our key types
    try:
        with transaction.atomic():
            return _renew(certificates.lock(device_pk), csr, key, presented, now)
    except CertificateError as error:
        certificates.report(error, device_pk)
        raise


def _renew(
    device: Device, csr: x509.CertificateSigningRequest, key: str, presented: Certificate | None, now: datetime
) -> Certificate:
    if device.state != Device.State.ACTIVE:
        raise CertificateError(f"This device is {device.get_state_display().lower()}.", "device_not_active", 409)
    # As it is now: it may have been revoked since the door looked.
    old = Certificate.objects.get(pk=presented.pk) if presented else current(device, now)
    if old is None or old.revoked_at is not None:
        raise CertificateError("This device has no valid certificate to renew: enrol it.", "no_certificate", 403)
    if old.not_after <= now:
        _check_recovery(device, old, now)
    known = device.certificates.trusted(now).filter(key_fingerprint=key).select_related("authority__issued_by")
    # Asked before, and the answer was lost. Where the door does not know the certificate in use, one that was seen
    # already may be the answer too; it would be the wrong one only for a key that is due for renewal itself.
    again = known.filter(first_seen_at__isnull=True, pk__gt=old.pk) if presented else known.filter(renew_at__gt=now)
    if (answer := again.order_by("-pk").first()) is not None:
        return answer
    issued = certificates.issue(device, csr, now)
    opened = Renewal.objects.filter(device=device, state__in=Renewal.OPEN).first() or Renewal(
        device=device, cause=Renewal.Cause.DEVICE
    )
    opened.certificate, opened.successor = old, issued
    opened.state, opened.issued_at = Renewal.State.ISSUED, now
    opened.next_attempt_at = rotation.next_attempt(max(opened.attempts, 1), old.renew_at, old.not_after, now)
    opened.save()
    return issued


def _check_recovery(device: Device, old: Certificate, now: datetime) -> None:
    """May this expired certificate still ask for its successor? Only the last one the device was seen with."""
    used_since = device.certificates.filter(last_seen_at__gt=old.last_seen_at or old.created_at).exists()
    if used_since or now > old.not_after + settings.RECOVERY_GRACE:
        raise CertificateError(
            "This certificate has expired, and the time to recover with it is over: enrol the device anew.",
            "certificate_expired",
            403,
        )
    evidence.find(
        "expired_certificate_used",
        f"It recovers with {old.serial}, expired on {old.not_after:%Y-%m-%d %H:%M} UTC.",
        device_pk=device.pk,
    )
    evidence.record("certificate.recovered", device=device, actor=device.device_id, detail={"serial": old.serial})


def chain(certificate: Certificate) -> str:
    """PEM of the CA certificates a device sends after this one."""
    return authorities.chain(certificate.authority)


def of_authorities(names: list[str], now: datetime) -> QuerySet[Certificate]:
    """Certificates in use that these authorities issued, by name: what is to be moved before one of them ends."""
    return Certificate.objects.trusted(now).filter(authority__name__in=names)


# --- for people -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forecast:
    """One line of the dry run."""

    device: Device
    certificate: Certificate
    at: datetime
    """When it would be asked, were it online and nobody quiet."""


def preview(now: datetime, horizon: timedelta, limit: int = 500) -> list[Forecast]:
    """The dry run: who would be asked until `now + horizon`, and when, at the pace of the settings. Changes nothing."""
    pace = _MINUTE / max(settings.RENEWALS_PER_MINUTE, 1)
    told: list[Forecast] = []
    at = now
    rows = due(now, now + horizon).order_by("renew_at", "pk")
    for certificate in rows[:limit]:
        at = max(at + pace if told else at, certificate.renew_at)
        told.append(Forecast(certificate.device, certificate, at))
    return told
