"""Devices from a table: every row is judged, and only a table without a mistake is written, as a whole.

The table is read by django-import-export; what a device may be is said where it is said for all (lifecycle, fields).
"""

import csv
import io
from dataclasses import dataclass, field
from typing import Any

import tablib
from django.core.exceptions import ValidationError
from django.db import transaction
from import_export import resources
from import_export.fields import Field
from import_export.instance_loaders import BaseInstanceLoader
from import_export.widgets import Widget

from devices import evidence, lifecycle
from devices.errors import DeviceError, DomainError
from devices.models import Device, DeviceType, Group, Site, Tenant
from devices.models.fields import HARDWARE_ID_RULE, is_hardware_id, validate_part

COLUMNS = ("tenant", "device_type", "hardware_id", "name", "site", "tags", "groups")
NEEDED = COLUMNS[:3]
MAX_ROWS = 1_000
MAX_BYTES = 256 * 1024
_TAGS = 20
_NAME = 200
_CELL = 300


class TableRefused(DomainError):
    """A file that cannot be read as a table of devices."""

    code = "table_refused"
    status = 400


@dataclass(slots=True)
class Row:
    """A device that a row describes."""

    tenant: Tenant | None = None
    device_type: DeviceType | None = None
    hardware_id: str = ""
    name: str = ""
    site: Site | None = None
    tags: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    pk: int | None = None

    def __str__(self) -> str:
        return self.name or self.hardware_id


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and where: the row as a spreadsheet counts it, the header being 1."""

    row: int
    column: str
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What a table would come to."""

    rows: list[Row]
    mistakes: list[Mistake]


def read(data: bytes) -> tablib.Dataset:
    """The table in a CSV file: UTF-8, with commas, semicolons or tabs. Raises `TableRefused`."""
    if len(data) > MAX_BYTES:
        raise TableRefused(f"At most {MAX_BYTES // 1024} kB: cut the file in parts.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableRefused(f"It is not UTF-8 at byte {error.start}: save it as CSV UTF-8.") from error
    if "\0" in text:
        raise TableRefused("It is no CSV file: there are NUL characters in it.")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        lines = list(csv.reader(io.StringIO(text.strip("\r\n"), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise TableRefused(f"It is no CSV file: {error}.") from error
    if not text.strip():
        raise TableRefused("The file is empty.")
    return _table([name.strip().lower().replace(" ", "_") for name in lines[0]], lines[1:])


def _table(head: list[str], lines: list[list[str]]) -> tablib.Dataset:
    unknown, twice = sorted(set(head) - set(COLUMNS)), len(head) != len(set(head))
    missing = [name for name in NEEDED if name not in head]
    if unknown or missing or twice:
        told = [f"unknown: {', '.join(each[:40] or '(empty)' for each in unknown[:10])}"] if unknown else []
        told += [f"missing: {', '.join(missing)}"] if missing else []
        told += ["one stands there twice"] if twice else []
        raise TableRefused(f"The first line names the columns ({', '.join(COLUMNS)}); {'; '.join(told)}.")
    if not lines:
        raise TableRefused("There is no row below the first line.")
    if len(lines) > MAX_ROWS:
        raise TableRefused(f"At most {MAX_ROWS:,} rows at once; here are {len(lines):,}.")
    long = [number for number, line in enumerate(lines, 2) if len(line) > len(head)]
    if long:
        raise TableRefused(f"Row {long[0]} has more cells than there are columns.")
    table = tablib.Dataset(headers=head)
    for line in lines:
        table.append([each.strip() for each in line] + [""] * (len(head) - len(line)))
    return table


class _Known(Widget):
    """A row that is named by its slug."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.rows = what, dict[str, Any]()

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        if not value:
            raise ValueError("It is empty.")
        if value not in self.rows:
            raise ValueError(f"There is no {self.what} {value[:63]!r}: its slug is asked for.")
        return self.rows[value]


class _HardwareId(Widget):
    """What enrolment would take, and nobody has."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[tuple[str, str], str] = {}
        self.seen: dict[tuple[str, str], int] = {}

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        if not is_hardware_id(value):
            raise ValueError(HARDWARE_ID_RULE if value else "It is empty.")
        key, number = (row.get("device_type", ""), value), kwargs.get("row_number", 0)
        if key in self.taken:
            raise ValueError(f"{self.taken[key]} of this type has it already.")
        if key in self.seen:
            raise ValueError(f"It stands in row {self.seen[key]} already.")
        self.seen[key] = number + 1
        return str(value)


class _Name(Widget):
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> str:
        if len(value) > _NAME:
            raise ValueError(f"At most {_NAME} characters.")
        return str(value)


class _Place(Widget):
    """A site of the row's own tenant, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], Site] = {}

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Site | None:
        if value and (row.get("tenant"), value) not in self.rows:
            raise ValueError(f"This tenant has no site {value[:100]!r}.")
        return self.rows[row["tenant"], value] if value else None


class _Tags(Widget):
    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> list[str]:
        tags = sorted({each.strip() for each in value.replace("|", ",").split(",") if each.strip()})
        if len(tags) > _TAGS:
            raise ValueError(f"At most {_TAGS} tags.")
        for tag in tags:
            try:
                validate_part(tag)
            except ValidationError as error:
                raise ValueError(f"{tag[:40]!r}: lower-case letters, digits, - and _ only.") from error
        return tags


class _Groups(Widget):
    """Groups of the row's own tenant, by name, with | between them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], Group] = {}

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> list[Group]:
        names = [each.strip() for each in value.split("|") if each.strip()]
        strangers = [name for name in names if (row.get("tenant"), name) not in self.rows]
        if strangers:
            raise ValueError(f"This tenant has no group {strangers[0][:100]!r}.")
        return [self.rows[row["tenant"], name] for name in dict.fromkeys(names)]


class DeviceResource(resources.Resource):
    """The columns of the table. It writes nothing: `carry_out` does, by the use case."""

    tenant = Field("tenant", "tenant", _Known("tenant"))
    device_type = Field("device_type", "device_type", _Known("device type"))
    hardware_id = Field("hardware_id", "hardware_id", _HardwareId())
    name = Field("name", "name", _Name())
    site = Field("site", "site", _Place())
    tags = Field("tags", "tags", _Tags())
    groups = Field("groups", "groups", _Groups())

    class Meta:
        import_order = COLUMNS
        instance_loader_class = BaseInstanceLoader  # there is nothing to load: every row is new
        skip_diff = True
        use_transactions = False
        store_instance = True

    def __init__(self, user: Any) -> None:
        super().__init__()
        self._user = user

    def before_import(self, dataset: tablib.Dataset, **kwargs: Any) -> None:
        """All that the rows name is looked up at once, of what this person may see."""

        def named(column: str) -> set[str]:
            return set(dataset[column]) - {""} if column in dataset.headers else set()

        fields = self.fields
        tenants = {row.slug: row for row in Tenant.objects.visible_to(self._user).filter(slug__in=named("tenant"))}
        types = DeviceType.objects.visible_to(self._user).filter(slug__in=named("device_type"))
        fields["tenant"].widget.rows = tenants
        fields["device_type"].widget.rows = {row.slug: row for row in types}
        asked = {"tenant__in": list(tenants.values())}
        sites = Site.objects.filter(name__in=named("site"), **asked).select_related("tenant")
        fields["site"].widget.rows = {(row.tenant.slug, row.name): row for row in sites}
        names = {name.strip() for cell in named("groups") for name in cell.split("|")}
        groups = Group.objects.filter(name__in=names, **asked).select_related("tenant")
        fields["groups"].widget.rows = {(row.tenant.slug, row.name): row for row in groups}
        devices = Device.objects.filter(
            hardware_id__in=named("hardware_id"), device_type__slug__in=named("device_type")
        )
        taken = devices.values_list("device_type__slug", "hardware_id", "device_id")
        fields["hardware_id"].widget.taken = {(slug, hardware): device for slug, hardware, device in taken}
        fields["hardware_id"].widget.seen = {}

    def get_or_init_instance(self, instance_loader: Any, row: Any) -> tuple[Row, bool]:
        """Every row is a new device."""
        return Row(), True

    def do_instance_save(self, instance: Row, is_create: bool) -> None:
        """Nothing is written row by row."""


def judge(table: tablib.Dataset, user: Any) -> Judged:
    """What each row would become, and every mistake by row and column. Writes nothing."""
    # Not as a "dry run": that would set a savepoint for each row, and the resource writes nothing in either case.
    result = DeviceResource(user).import_data(table, dry_run=False, raise_errors=False, use_transactions=False)
    mistakes = [
        Mistake(invalid.number + 1, column if column in COLUMNS else "", text)
        for invalid in result.invalid_rows
        for column, texts in invalid.error_dict.items()
        for text in texts
    ]
    for failed in result.error_rows:  # what no column could say of itself
        mistakes += [Mistake(failed.number + 1, "", str(error.error)[:_CELL]) for error in failed.errors]
    mistakes.sort(key=lambda each: (each.row, COLUMNS.index(each.column) if each.column else -1))
    return Judged([each.instance for each in result.rows if each.instance], mistakes)


def carry_out(table: tablib.Dataset, user: Any, reason: str) -> Judged:
    """Register all of them in one transaction, or none: then the answer says why."""
    judged = judge(table, user)
    if judged.mistakes:
        return judged
    number = 1
    try:
        with transaction.atomic():
            for row in judged.rows:
                number += 1
                row.pk = _register(row, user, reason).pk
            told = {"devices": len(judged.rows)}
            evidence.record("devices.imported", user=user, reason=reason, detail=told)
    except DeviceError as error:  # somebody was first, since the table was judged
        return Judged(judged.rows, [Mistake(number, "hardware_id", error.detail)])
    return judged


def _register(row: Row, user: Any, reason: str) -> Device:
    if row.tenant is None or row.device_type is None:
        raise DeviceError("It names no tenant or no device type.", "hardware_id", 400)
    device = lifecycle.register(
        tenant=row.tenant, device_type=row.device_type, hardware_id=row.hardware_id, user=user, name=row.name,
        site=row.site, reason=reason,
    )  # fmt: skip
    if row.tags:
        Device.objects.filter(pk=device.pk).update(tags=row.tags)
    if row.groups:
        device.groups.add(*row.groups)
    return device
