"""Readings as files that people ask for.

A worker writes the file in a folder of its own, piece by piece, and puts it into the storage `exports` under a name
that nobody can guess; only then is the job done, and only then is the file served: never a half one. A worker that is
lost leaves what the next one, or `expire`, removes. The next one starts over.
"""

import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from devices import evidence
from devices.errors import DomainError
from devices.models import Device, Tenant
from devices.tenancy import sees_all
from telemetry import jobs
from telemetry.exporting import parquet, scratch, sheets
from telemetry.models import Export, Job

MAX_DEVICES = 200
MAX_DAYS = 400
MAX_ROWS = 10_000_000
MAX_BYTES = 4 * 1024**3
"""Of the text that a file is made of."""
MAX_KEPT_BYTES = 50 * 1024**3
"""Of the files of a tenant that are there: no customer fills the disk."""
_BEAT_ROWS = 100_000
MAX_OPEN = 5
"""Exports of a tenant that wait or run at the same time."""
REMOVE = "telemetry.delete_export"
"""Permission of staff to end and remove what others asked for."""
_PIECE = 20
"""Devices of a piece; a piece is at most a day of them."""
_DAY = timedelta(days=1)


class ExportError(DomainError):
    """An export that cannot be. `path` leads to the mistake in what was asked (JSONPath); empty where none does."""

    code = "export_refused"

    def __init__(self, detail: str, code: str = "", status: int = 0, *, path: str = "") -> None:
        super().__init__(detail, code, status)
        self.path = path


def request(
    user: Any, device_ids: Sequence[str], since: datetime, until: datetime, format_: str, resolution: str, now: datetime
) -> Export:
    """Have the readings of these devices in [since, until) written to a file. Both are cut to whole seconds.

    Devices that this person may not see are not there. Raises `ExportError`: devices_missing, too_many_devices,
    device_unknown, several_tenants, range_empty, range_too_long, range_too_old (400), too_many_exports,
    exports_full (429).
    """
    devices = _devices(user, device_ids)
    since, until = since.replace(microsecond=0), min(until, now + _DAY).replace(microsecond=0)
    _check_range(since, until, resolution, now)
    tenant_pk = devices[0].tenant_id
    with transaction.atomic():
        # Two that ask at the same moment count one after the other.
        tenant = Tenant.objects.select_for_update(no_key=True).get(pk=tenant_pk)
        if Export.objects.filter(tenant=tenant, state__in=Job.OPEN).count() >= MAX_OPEN:
            wait = f"{MAX_OPEN} exports are being made for {tenant}: wait until one is done."
            raise ExportError(wait, "too_many_exports", 429)
        kept = Export.objects.filter(tenant=tenant).exclude(path="").aggregate(bytes=Sum("size"))["bytes"] or 0
        if kept >= MAX_KEPT_BYTES:
            full = f"The files of {tenant} take {kept / 1024**3:.0f} GiB: remove some that are not needed any more."
            raise ExportError(full, "exports_full", 429)
        told = {"since": since, "until": until, "format": format_, "resolution": resolution}
        export: Export = Export.objects.create(tenant=tenant, requested_by=user, **told)
        export.devices.set(devices)
        detail = {name: str(value) for name, value in told.items()}
        detail |= {"export": str(export.pk), "devices": str(len(devices))}
        evidence.record("export.requested", tenant=tenant, user=user, detail=detail, at=now)
        jobs.start(export)
    return export


def _devices(user: Any, device_ids: Sequence[str]) -> list[Device]:
    wanted = list(dict.fromkeys(device_ids))
    if not wanted:
        raise ExportError("Choose at least one device.", "devices_missing", path="$.devices")
    if len(wanted) > MAX_DEVICES:
        detail = f"At most {MAX_DEVICES} devices go into one file; these are {len(wanted)}."
        raise ExportError(detail, "too_many_devices", path="$.devices")
    found = {each.device_id: each for each in Device.objects.visible_to(user).filter(device_id__in=wanted)}
    for index, device_id in enumerate(device_ids):
        if device_id not in found:
            detail = "There is no such device, or it is not yours."
            raise ExportError(detail, "device_unknown", path=f"$.devices[{index}]")
        if found[device_id].tenant_id != found[wanted[0]].tenant_id:
            detail = "One file holds the devices of one organisation."
            raise ExportError(detail, "several_tenants", path=f"$.devices[{index}]")
    return [found[device_id] for device_id in wanted]


def _check_range(since: datetime, until: datetime, resolution: str, now: datetime) -> None:
    kept = {
        Export.Resolution.READING: settings.HOT_DAYS,
        Export.Resolution.MINUTE: settings.MINUTE_DAYS,
        Export.Resolution.HOUR: settings.HOUR_DAYS,
    }[Export.Resolution(resolution)]
    if since >= until:
        raise ExportError("The range is empty: it ends before it begins, or lies ahead.", "range_empty", path="$.until")
    if until - since > timedelta(days=MAX_DAYS + 1):
        raise ExportError(f"At most {MAX_DAYS} days go into one file.", "range_too_long", path="$.since")
    if since < now - timedelta(days=kept + 1):
        detail = f"{Export.Resolution(resolution).label}: kept for {kept} days. Begin later"
        detail += "." if resolution == Export.Resolution.HOUR else ", or take a coarser resolution."
        raise ExportError(detail, "range_too_old", path="$.since")


def may_remove(export: Export, user: Any) -> bool:
    """Whoever asked for it, and staff with the right."""
    return bool(user.is_active and (export.requested_by_id == user.pk or (sees_all(user) and user.has_perm(REMOVE))))


def remove(export: Export, user: Any, now: datetime) -> bool:
    """End it, and delete its file. False when nothing was left to do. Who may, the caller asks."""
    with transaction.atomic():
        row: Export = Export.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=export.pk)
        ended = jobs.cancel(row, now)
        if not ended and not row.is_there:
            return False
        evidence.record("export.removed", tenant=row.tenant, user=user, detail={"export": str(row.pk)}, at=now)
        if not ended:
            Export.objects.filter(pk=row.pk).update(expires_at=now)
    _forget(row)
    return True


def expire(now: datetime) -> int:
    """Delete files that are older than EXPORT_DAYS, and what ended or lost workers left. Returns how many."""
    old = Export.objects.filter(state=Job.State.DONE, expires_at__lte=now).exclude(path="")
    left = Export.objects.filter(state__in=(Job.State.FAILED, Job.State.CANCELED)).exclude(path="")
    rows = [*old, *left]
    for row in rows:
        _forget(row)
    return len(rows)


def open_file(export: Export) -> IO[Any]:
    """Its file, opened for reading. Raises `ExportError` (export_gone, 410)."""
    try:
        if export.is_there:
            return _store().open(export.path, "rb")
    except OSError:
        pass
    raise ExportError("There is no file: it is not made yet, or it is not kept any more.", "export_gone", 410)


def run(pk: int) -> None:
    """Write the file of an export, with progress. Another worker's, or one that has ended, is left alone."""
    jobs.work(Export, pk, _run)


def _store() -> Storage:
    return storages["exports"]


def _forget(export: Export) -> None:
    """The file first: a crash in between leaves a row that says where it was, and it is deleted again."""
    if export.path:
        _store().delete(export.path)
        Export.objects.filter(pk=export.pk, path=export.path).update(path="")


class _Whole(File):  # type: ignore[type-arg]  # it takes no parameter at run time
    """A file that is written; a store in the same file system moves it instead of copying it."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def _run(export: Export) -> None:
    _forget(export)  # of a start before this one
    path = f"{secrets.token_urlsafe(24)}.{export.format}"
    jobs.beat(export, path=path, rows=0, done=0, total=len(list(_pieces(export))))
    try:
        with scratch.folder("export") as folder:
            made, rows = _make(export, folder)
            size = made.stat().st_size
            with made.open("rb") as file:
                if _store().save(path, _Whole(file, str(made))) != path:
                    raise OSError("the store has a file of this name")
    except BaseException:
        _store().delete(path)
        raise
    try:
        jobs.finish(export, rows=rows, size=size, expires_at=timezone.now() + timedelta(days=settings.EXPORT_DAYS))
    except jobs.Lost:
        _store().delete(path)
        raise
    # Whatever else it raises may have come after the commit: the row says whether the file is wanted, and `expire`
    # or the next start delete it where it is not.


def _make(export: Export, folder: Path) -> tuple[Path, int]:
    """The file, and its rows."""
    people = export.format == Export.Format.CSV
    types = export.devices.order_by().values_list("device_type", flat=True).distinct()
    sheet = sheets.sheet(types, export.resolution, for_people=people)
    if len(sheet.columns) > sheets.MAX_COLUMNS:
        detail = f"These devices have {len(sheet.columns):,} different values: choose devices of fewer types."
        raise ExportError(detail, "too_many_columns")
    csv = folder / "readings.csv"
    with csv.open("wb") as file:
        if people:
            file.write(sheet.header())
        rows = _write(export, sheet, file, b"\r\n" if people else b"\n")
    if people:
        return csv, rows
    target = folder / "readings.parquet"
    with jobs.alive(export):
        parquet.write(csv, sheet.columns, target)
    return target, rows


def _write(export: Export, sheet: sheets.Sheet, file: IO[bytes], ending: bytes) -> int:
    rows = size = 0
    for done, (devices, since, until) in enumerate(_pieces(export), 1):
        for row in sheet.rows(devices, since, until):
            file.write(row[:-1] + ending)  # RFC 4180 ends a row so; line feeds inside a quoted text stay
            rows += 1
            size += len(row)
            if rows > MAX_ROWS or size > MAX_BYTES:
                code, most = ("too_many_rows", f"{MAX_ROWS:,} rows")
                if size > MAX_BYTES:
                    code, most = ("too_many_bytes", f"{MAX_BYTES / 1024**3:.0f} GiB")
                detail = f"More than {most}: take a shorter range, fewer devices or a coarser resolution."
                raise ExportError(detail, code)
            if not rows % _BEAT_ROWS:
                jobs.beat(export, rows=rows)
        jobs.beat(export, done=done, rows=rows)
    return rows


def _pieces(export: Export) -> Iterator[tuple[list[int], datetime, datetime]]:
    """Day by day (UTC), some devices at a time, in the order of their ids: what is read between two signs of life."""
    devices = list(export.devices.order_by("pk").values_list("pk", flat=True))
    start = export.since
    while start < export.until:
        end = min((start + _DAY).astimezone(UTC).replace(hour=0, minute=0, second=0), export.until)
        for first in range(0, len(devices), _PIECE):
            yield devices[first : first + _PIECE], start, end
        start = end
