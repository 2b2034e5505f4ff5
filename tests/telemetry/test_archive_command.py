import csv
import io
import shlex
from datetime import date

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from telemetry.archive import archives, files
from telemetry.models import ArchivedDay, Metric, Retention, Schema
from telemetry.tables import partitions
from tests.devices.test_runbooks import blocks
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.archive.test_archives import DAY, archive, damage, fill, overwrite  # noqa: F401 (a fixture)
from tests.telemetry.days import NOW, OLD, all_of, put, reading


@pytest.fixture
def device(db):
    """With two archived days, the older one first."""
    made = DeviceFactory(device_type=SchemaFactory().device_type)
    fill(made, OLD - DAY, count=2, extra='{"note": "kühl, \\"nice\\""}')
    fill(made, OLD)
    archives.archive_due(NOW)
    return made


def run(*arguments):
    out = io.StringIO()
    call_command("archive", *arguments, stdout=out)
    return out.getvalue()


def asked(*arguments):
    """What a query answered, by its CSV."""
    return list(csv.DictReader(io.StringIO(run("query", "--csv", *arguments))))


def test_run_archives_what_is_due_and_tells_what_could_not_be(device, archive, time_machine):  # noqa: F811
    time_machine.move_to(NOW)
    fill(device, OLD - 2 * DAY)
    assert run("run").splitlines() == [f"{OLD - 2 * DAY} left the database", "What could be archived is."]
    fill(device, OLD - 3 * DAY)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {partitions.partition(OLD - 3 * DAY)} SET metrics = '[0:1]={{1,2}}'")
    with pytest.raises(CommandError, match=f"{OLD - 3 * DAY}: ArchiveError: .* is not a plain list"):
        run("run")


def test_the_commands_of_the_runbook_do_what_it_says(device, archive):  # noqa: F811
    said = []
    for _, commands in blocks("runbooks/archive"):
        for line in commands.splitlines():
            python, manage, *arguments = shlex.split(line)
            assert (python, manage, arguments.pop(0)) == ("python", "manage.py", "archive")
            said.append(run(*arguments).splitlines()[-1])
    assert said[0].startswith("5 readings")
    assert said[1:] == ["2 parts, all as they were.", "What could be archived is.", "2 parts, all as they were."]


def test_list_tells_days_sizes_and_state(device):
    told = run("list").splitlines()
    assert [line.split()[:3] for line in told[1:3]] == [[str(OLD - DAY), "1", "2"], [str(OLD), "1", "3"]]
    assert told[1].endswith("archived")
    assert told[-1].startswith("5 readings, ")
    assert len(run("list", "--since", str(OLD)).splitlines()) == 3


class TestQuery:
    def test_a_device_and_a_metric(self, device):
        DeviceFactory(device_type=device.device_type)
        rows = asked("--device", device.device_id, "--metric", "temperature_c")
        assert [row["temperature_c"] for row in rows] == ["4.5"] * 5
        assert rows[0] == {"device": device.device_id, "ts": f"{OLD - DAY} 00:00:00+00", "temperature_c": "4.5"}
        assert rows[1]["ts"] == f"{OLD - DAY} 01:00:00.123456+00"

    def test_of_a_range_whose_end_is_not_part_of_it(self, device):
        rows = asked("--device", device.device_id, "--since", f"{OLD - DAY}T01:00", "--until", str(OLD))
        assert [row["ts"] for row in rows] == [f"{OLD - DAY} 01:00:00.123456+00"]

    def test_metrics_have_their_names_and_kinds_and_texts_too(self, device):
        row = asked("--device", device.device_id)[0]
        found = {name: row[name] for name in ("temperature_c", "humidity_pct", "door_open", "note", "schema_version")}
        assert found == {
            "temperature_c": "4.5", "humidity_pct": "", "door_open": "true", "note": 'kühl, "nice"',
            "schema_version": "1",
        }  # fmt: skip

    def test_versions_of_a_schema_meet_under_one_name(self, device):
        newer = Schema.objects.create(device_type=device.device_type, version=2)
        for position, (name, kind) in enumerate([("ts", "number"), ("temperature_c", "number"), ("note", "number")]):
            Metric.objects.create(schema=newer, position=position, name=name, label=name, kind=kind)
        partitions.make_day(OLD - 2 * DAY)
        put([reading(device.pk, newer.pk, OLD - 2 * DAY, metrics=[9.0, 21.5, 7.0])])
        archives.archive_due(NOW)
        rows = asked("--sql", "SELECT schema_version, temperature_c, ts_, note FROM readings ORDER BY ts LIMIT 2")
        assert [list(row.values()) for row in rows] == [["2", "21.5", "9.0", "7.0"], ["1", "4.5", "", 'kühl, "nice"']]

    def test_sql_over_one_type(self, device):
        sql = "SELECT count(*) AS n, avg(temperature_c) AS mean FROM readings;"
        assert asked("--sql", sql) == [{"n": "5", "mean": "4.5"}]
        assert run("query", "--sql", sql).splitlines() == ["n  mean", "5  4.5"]

    def test_which_type_must_be_told_where_there_are_several(self, device):
        other = DeviceFactory(device_type=SchemaFactory().device_type)
        fill(other, OLD - 2 * DAY, count=1)
        archives.archive_due(NOW)
        sql = ["query", "--sql", "SELECT count(*) FROM readings"]
        with pytest.raises(CommandError, match=f"{device.device_type.slug}, {other.device_type.slug}"):
            run(*sql)
        assert run(*sql, "--type", other.device_type.slug).splitlines()[1] == "1"
        with pytest.raises(CommandError, match="no readings of type 'x'"):
            run(*sql, "--type", "x")

    def test_what_several_parts_hold_is_told_once(self, device):
        run("restore", "--day", str(OLD))
        put([reading(device.pk, device.device_type.schemas.get().pk, OLD, 7)])
        ArchivedDay.objects.update(keep_until=None)
        archives.archive_due(NOW)
        assert ArchivedDay.objects.filter(day=OLD).count() == 2
        assert len(asked("--device", device.device_id, "--since", str(OLD))) == 4

    def test_of_many_parts_the_newest_is_the_one_with_the_highest_number(self, device, archive):  # noqa: F811
        run("restore", "--day", str(OLD))
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {partitions.partition(OLD)} SET metrics = '{{7,NULL,1}}'")
        ArchivedDay.objects.filter(day=OLD).update(keep_until=None, part=9)
        archives.archive_due(NOW)
        newest = ArchivedDay.objects.get(day=OLD, part=10)
        first = ArchivedDay.objects.get(day=OLD, part=9)
        ninth = files.path_of(OLD, 9)
        for of in (lambda path: path, files.manifest_path):
            (archive / of(first.path)).rename(archive / of(ninth))
        ArchivedDay.objects.filter(pk=first.pk).update(path=ninth)
        rows = asked("--device", device.device_id, "--since", str(OLD), "--metric", "temperature_c")
        assert newest.path.endswith(".10.parquet")
        assert [row["temperature_c"] for row in rows] == ["7.0"] * 3

    def test_a_metric_called_as_another_is_renamed_has_yet_another_name(self, device):
        newer = Schema.objects.create(device_type=device.device_type, version=2)
        for position, name in enumerate(("ts", "ts_", "ts__")):
            Metric.objects.create(schema=newer, position=position, name=name, label=name, kind="number")
        partitions.make_day(OLD - 2 * DAY)
        put([reading(device.pk, newer.pk, OLD - 2 * DAY, metrics=[1.0, 2.0, 3.0])])
        archives.archive_due(NOW)
        (row,) = asked("--sql", "SELECT ts_, ts__, ts___ FROM readings WHERE schema_version = 2")
        assert row == {"ts_": "2.0", "ts__": "3.0", "ts___": "1.0"}

    @pytest.mark.parametrize(
        ("sql", "told"),
        [
            ("COPY (SELECT 1) TO '{file}'", "one SELECT"),
            ("SELECT 1; COPY (SELECT 1) TO '{file}'", "one SELECT"),
            ("SELECT 1); COPY (SELECT 1) TO '{file}' (FORMAT parquet); SELECT * FROM (SELECT 1", "Parser Error"),
            ("-- nothing", "one SELECT"),
        ],
    )
    def test_sql_cannot_write(self, device, archive, sql, told):  # noqa: F811
        file = archive / ArchivedDay.objects.get(day=OLD).path
        before = file.read_bytes()
        with pytest.raises(CommandError, match=told):
            run("query", "--sql", sql.format(file=file))
        assert file.read_bytes() == before

    def test_sql_may_end_with_a_comment(self, device):
        assert asked("--sql", "SELECT count(*) AS n FROM readings -- all of them") == [{"n": "5"}]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--device", "d-none"], "no readings of d-none"),
            (["--device", "{device}", "--metric", "x"], "No metric x; there are device, ts"),
            (["--device", "{device}", "--since", "2016-01-01"], "no day of that range"),
            (["--device", "{device}", "--sql", "SELECT 1"], "leave --device"),
            ([], "Which device"),
            (["--sql", "SELECT x FROM readings"], 'column "x" not found'),
            (["--since", "May"], "'May': a moment is"),
            (["--since", "2025-02-31"], "'2025-02-31': a moment is"),
        ],
    )
    def test_mistakes_are_told(self, device, arguments, told):
        with pytest.raises(CommandError, match=told):
            run("query", *(each.format(device=device.device_id) for each in arguments))


class TestRestore:
    def test_a_day(self, device):
        told = run("restore", "--day", str(OLD), "--keep-days", "5")
        assert f"[1/1] {OLD}: 3 readings, 3 of them were not there" in told
        assert len(all_of(OLD)) == 3
        assert "0 of them were not there" in run("restore", "--day", str(OLD))

    def test_what_a_rule_of_retention_takes_is_told(self, device):
        Retention.objects.create(tenant=device.tenant, days=30, reason="contract")
        assert "3 of them were not there; rules of retention took 3 again" in run("restore", "--day", str(OLD))
        assert all_of(OLD) == []

    def test_a_month(self, device):
        fill(device, date(2014, 4, 30), count=1)
        archives.archive_due(NOW)
        told = run("restore", "--month", "2014-05")
        assert "[2/2]" in told
        assert [len(all_of(day)) for day in (date(2014, 4, 30), OLD - DAY, OLD)] == [0, 2, 3]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--day", "2030-01-01"], "2030-01-01: never archived"),
            (["--month", "2030-01"], "2030-01: never archived"),
            (["--month", "2030-13"], "a month is YYYY-MM"),
            (["--day", "today"], "a day is YYYY-MM-DD"),
            (["--day", "2030-01-01", "--keep-days", "0"], "at least 1"),
            ([], "--day --month is required"),
        ],
    )
    def test_mistakes_are_told(self, db, arguments, told):
        with pytest.raises(CommandError, match=told):
            run("restore", *arguments)


class TestVerify:
    def test_all_is_as_it_was(self, device):
        assert run("verify").endswith("2 parts, all as they were.\n")
        assert run("verify", "--deep", "--since", str(OLD)).endswith("1 parts, all as they were.\n")

    def test_a_byte_that_changed(self, device, archive):  # noqa: F811
        path = ArchivedDay.objects.get(day=OLD).path
        damage(archive / path)
        with pytest.raises(CommandError, match="1 of 2 parts"):
            run("verify")
        assert failed("verify") == f"{path}: its bytes changed"

    def test_a_missing_file_and_a_missing_manifest(self, device, archive):  # noqa: F811
        old, new = (ArchivedDay.objects.get(day=day).path for day in (OLD - DAY, OLD))
        (archive / old).unlink()
        overwrite(archive / files.manifest_path(new), b"{")
        out = io.StringIO()
        with pytest.raises(CommandError, match="2 of 2 parts"):
            call_command("archive", "verify", stdout=out)
        told = out.getvalue().splitlines()
        assert told[0] == f"{old}: missing from the archive"
        assert told[1].startswith(files.manifest_path(new))


def failed(*arguments) -> str:
    """The beginning of the last line before it failed."""
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("archive", *arguments, stdout=out)
    return ":".join(out.getvalue().splitlines()[-1].split(":")[:2])
