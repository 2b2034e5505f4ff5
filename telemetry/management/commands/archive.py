"""`manage.py archive`: days that left the database: which there are, what they say, and back with them."""

import csv
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from devices.models import Finding
from telemetry.archive import archives, checks, queries, restores
from telemetry.archive.files import ArchiveError
from telemetry.exporting.parquet import ParquetError, name, text
from telemetry.models import ArchivedDay

_SHOWN = 200
_AT_ONCE = 1000


def _day(given: str) -> date:
    try:
        found = parse_date(given)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{given!r}: a day is YYYY-MM-DD")
    return found


def _moment(given: str) -> datetime:
    """A day, or a moment; without a zone it is UTC."""
    try:
        found = parse_datetime(given)
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{given!r}: a moment is YYYY-MM-DD or YYYY-MM-DDTHH:MM[:SS][Z]")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _month(given: str) -> tuple[date, date]:
    """The first day of a month, and of the next."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", given):
        raise ArgumentTypeError(f"{given!r}: a month is YYYY-MM")
    first = date.fromisoformat(f"{given}-01")
    return first, (first + timedelta(days=32)).replace(day=1)


class Command(BaseCommand):
    help = "Days whose readings left the database: list, query, restore, verify; run: have them leave now."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        chosen = {"since": None, "until": None}
        for verb, told in (("list", "which days there are"), ("verify", "read every file, and compare")):
            each = verbs.add_parser(verb, help=told)
            each.add_argument("--since", type=_day, metavar="DAY")
            each.add_argument("--until", type=_day, metavar="DAY", help="this day, too")
            if verb == "verify":
                each.add_argument("--deep", action="store_true", help="read every reading, not only every byte")
        verbs.add_parser("run", help="archive the days that are due, now")
        query = verbs.add_parser("query", help="ask, in place")
        query.set_defaults(**chosen)
        query.add_argument("--since", type=_moment, metavar="TIME")
        query.add_argument("--until", type=_moment, metavar="TIME", help="not part of it")
        query.add_argument("--device", default="", metavar="ID")
        query.add_argument("--metric", action="append", default=[], metavar="NAME", help="only this; may be repeated")
        query.add_argument("--type", default="", metavar="SLUG", help="whose metrics `readings` has")
        query.add_argument("--sql", default="", help="a SELECT of DuckDB from the view `readings`")
        query.add_argument("--csv", action="store_true", help="everything, as CSV")
        restore = verbs.add_parser("restore", help="put readings back into the database, for a while")
        which = restore.add_mutually_exclusive_group(required=True)
        which.add_argument("--day", type=_day)
        which.add_argument("--month", type=_month, metavar="YYYY-MM")
        restore.add_argument("--keep-days", type=int, default=restores.KEEP_DAYS, help="(default: %(default)s)")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['verb']}")(options)
        except (ArchiveError, ParquetError, OSError) as error:
            raise CommandError(str(error)) from error

    def _run(self, _: dict[str, Any]) -> None:
        for day in archives.archive_due(timezone.now()):
            self.stdout.write(f"{day} left the database")
        open_findings = Finding.objects.filter(kind=archives.FAILED, resolved_at__isnull=True)
        failed = [f"{finding.subject}: {finding.detail}" for finding in open_findings.order_by("subject")]
        if failed:
            raise CommandError("\n".join(failed))
        self.stdout.write("What could be archived is.")

    def _list(self, options: dict[str, Any]) -> None:
        rows = total = 0
        self.stdout.write(f"{'day':10} {'part':>4} {'readings':>12} {'size':>9} {'B each':>6}  state")
        for part in _chosen(options):
            size, state = filesizeformat(part.size).replace("\xa0", " "), part.state(timezone.now())
            each = part.size / part.rows
            self.stdout.write(f"{part.day} {part.part:4} {part.rows:12} {size:>9} {each:6.1f}  {state}")
            rows, total = rows + part.rows, total + part.size
        self.stdout.write(f"{rows} readings, {filesizeformat(total)}".replace("\xa0", " "))

    def _verify(self, options: dict[str, Any]) -> None:
        bad = checked = 0
        for part in _chosen(options):
            wrong = checks.mistake(part, deep=options["deep"])
            self.stdout.write(wrong or f"{part.path}: {part.rows} readings, as they were dropped")
            checked, bad = checked + 1, bad + bool(wrong)
        if bad:
            raise CommandError(f"{bad} of {checked} parts are not what they were: bring them back from a backup.")
        self.stdout.write(f"{checked} parts, all as they were.")

    def _restore(self, options: dict[str, Any]) -> None:
        if options["keep_days"] < 1:
            raise CommandError("--keep-days: at least 1")
        first, after = options["month"] or (options["day"], options["day"] + timedelta(days=1))
        found = ArchivedDay.objects.filter(day__gte=first, day__lt=after)
        days = sorted(set(found.values_list("day", flat=True)))
        if not days:
            raise CommandError(f"{options['day'] or first.strftime('%Y-%m')}: never archived")
        for number, day in enumerate(days, start=1):
            done = restores.restore(day, timezone.now(), options["keep_days"])
            told = f"{done.rows} readings, {done.put} of them were not there"
            told += f"; rules of retention took {done.taken} again" if done.taken else ""
            self.stdout.write(f"[{number}/{len(days)}] {day}: {told}")
        self.stdout.write(f"They stay at least {options['keep_days']} days, and are dropped again then.")

    def _query(self, options: dict[str, Any]) -> None:
        if options["sql"] and (options["device"] or options["metric"]):
            raise CommandError("--sql says it all: leave --device and --metric away.")
        if not (options["sql"] or options["device"]):
            raise CommandError("Which device? --device ID, or --sql 'SELECT … FROM readings'.")
        asked = queries.opened(options["since"], options["until"], options["type"], options["device"])
        with asked as readings:
            there = [row[0] for row in readings.execute("DESCRIBE readings").fetchall()]
            sql = options["sql"].rstrip("; \n") or _of_device(options["device"], options["metric"], there)
            queries.check_reads(readings, sql)
            # As text no time zone and no number is lost on the way; a comment at the end must not hide the bracket.
            result = readings.execute(f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({sql}\n)")  # noqa: S608 (one SELECT)
            head = [column[0] for column in result.description or []]
            rows = (row for page in iter(lambda: result.fetchmany(_AT_ONCE), []) for row in page)
            self._csv(head, rows) if options["csv"] else self._table(head, rows)

    def _csv(self, head: list[str], rows: Iterable[tuple[str | None, ...]]) -> None:
        out = csv.writer(self.stdout, lineterminator="\n")
        out.writerow(head)
        out.writerows(rows)

    def _table(self, head: list[str], rows: Iterable[tuple[str | None, ...]]) -> None:
        shown = [head, *([cell or "" for cell in row] for row in islice(rows, _SHOWN + 1))]
        widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
        for row in shown[: _SHOWN + 1]:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if len(shown) > _SHOWN + 1:
            self.stdout.write(f"… these are the first {_SHOWN}; --csv writes all.")


def _chosen(options: dict[str, Any]) -> QuerySet[ArchivedDay]:
    bounds = {"day__gte": options["since"], "day__lte": options["until"]}
    return ArchivedDay.objects.filter(**{name: day for name, day in bounds.items() if day}).order_by("day", "part")


def _of_device(device: str, metrics: list[str], there: list[str]) -> str:
    missing = [metric for metric in metrics if metric not in there]
    if missing:
        raise CommandError(f"No metric {', '.join(missing)}; there are {', '.join(there)}.")
    columns = "device, ts, " + ", ".join(map(name, metrics)) if metrics else "*"
    return f"SELECT {columns} FROM readings WHERE device = {text(device)} ORDER BY ts, msg_id"  # noqa: S608 (quoted)
