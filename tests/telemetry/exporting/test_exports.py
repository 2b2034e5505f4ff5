"""Readings as files: what stands in them, what nobody else sees of them, and what is left when something breaks."""

import csv
import io
import json
import uuid
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from django.conf import settings as ours
from django.core.files.storage import storages
from django.db import OperationalError, transaction
from django.utils import timezone

from devices.models import Event
from telemetry import jobs
from telemetry.exporting import exports, sheets
from telemetry.exporting.exports import ExportError
from telemetry.models import Export, Hour, Metric, Minute, Schema
from telemetry.store import store
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory, TenantFactory, member
from tests.telemetry import rows as telemetry_rows
from tests.telemetry.messages import noon, row

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def place(days, settings, tmp_path):
    """Files of this test alone."""
    settings.STORAGES = settings.STORAGES | {
        "exports": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "exports")},
        }
    }
    settings.WORK_DIRECTORY = tmp_path / "work"
    return tmp_path / "exports"


@pytest.fixture
def device(place):
    return DeviceFactory(device_type=SchemaFactory().device_type)


@pytest.fixture
def owner(device):
    return member(device.tenant)


def say(device, *told, schema=None):
    schema = schema or Schema.objects.get(device_type=device.device_type)
    with transaction.atomic():
        store([row(device, schema, ts, value, **changes) for ts, value, changes in told])


def ask(user, *devices, since=None, until=None, format_="csv", resolution="reading"):
    now = timezone.now()
    ids = [each if isinstance(each, str) else each.device_id for each in devices]
    return exports.request(user, ids, since or noon() - DAY, until or noon() + DAY, format_, resolution, now)


def make(*told, **named):
    export = ask(*told, **named)
    exports.run(export.pk)
    export.refresh_from_db()
    assert export.state == "done", export.error
    return export


def read(export):
    with exports.open_file(export) as file:
        return bytes(file.read())


def table(export):
    return list(csv.DictReader(io.StringIO(read(export).decode(), newline="")))


class TestCsv:
    def test_holds_every_reading_with_its_metrics_by_name(self, device, owner):
        moment = noon().replace(microsecond=5000)
        msg_id = uuid.uuid4()
        told = {"msg_id": msg_id, "metrics": [-4.5, None, 1.0], "extra": json.dumps({"note": "ok"}), "flags": 1}
        say(device, (moment, None, told | {"received_at": moment}))
        export = make(owner, device)
        assert read(export).splitlines()[0] == (
            b"device_id,ts,msg_id,received_at,flags,temperature_c,humidity_pct,door_open,note"
        )
        iso = f"{moment:%Y-%m-%dT12:00:00.005Z}"
        assert table(export) == [
            {
                "device_id": device.device_id, "ts": iso, "msg_id": str(msg_id), "received_at": iso, "flags": "1",
                "temperature_c": "-4.5", "humidity_pct": "", "door_open": "true", "note": "ok",
            }
        ]  # fmt: skip
        assert (export.rows, export.size, export.percent) == (1, len(read(export)), 100)

    def test_lines_end_as_rfc_4180_says_and_line_feeds_in_texts_stay(self, device, owner):
        say(device, (noon(), 1, {"extra": json.dumps({"note": 'a "b",\nc'})}), (noon() + DAY / 24, 2, {}))
        body = read(make(owner, device))
        assert body.count(b"\r\n") == 3
        assert b'"a ""b"",\nc"\r\n' in body
        assert [each["note"] for each in table(make(owner, device))] == ['a "b",\nc', ""]

    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
    def test_a_text_that_begins_like_a_formula_is_none(self, device, owner, text):
        say(device, (noon(), -1, {"extra": json.dumps({"note": text})}))
        (line,) = table(make(owner, device))
        assert (line["note"], line["temperature_c"]) == ("'" + text, "-1")

    def test_other_texts_stay_as_they_are(self, device, owner):
        say(device, (noon(), 1, {"extra": json.dumps({"note": "a=b, <b>'x'"})}))
        assert table(make(owner, device))[0]["note"] == "a=b, <b>'x'"

    def test_only_the_range_and_the_devices_in_order(self, device, owner):
        other = DeviceFactory(tenant=device.tenant, device_type=device.device_type)
        third = DeviceFactory(tenant=device.tenant, device_type=device.device_type)
        for number, each in enumerate((device, other, third)):
            moments = [noon() + timedelta(minutes=minute) for minute in (-1, 1, 0, 59, 60)]
            say(each, *((moment, number, {}) for moment in moments))
        lines = table(make(owner, other, device, since=noon(), until=noon() + timedelta(hours=1)))
        assert [(line["device_id"], line["ts"][11:16]) for line in lines] == [
            (each.device_id, time) for each in (device, other) for time in ("12:00", "12:01", "12:59")
        ]

    def test_one_column_a_name_across_schema_versions(self, device, owner):
        first = Schema.objects.get(device_type=device.device_type)
        second = Schema.objects.create(device_type=device.device_type, version=2, open=True)
        for position, (name, kind) in enumerate([("door_open", "boolean"), ("power_w", "number"), ("note", "text")]):
            Metric.objects.create(schema=second, position=position, name=name, label=name, kind=kind)
        Metric.objects.create(schema=second, position=9, name="temperature_c", label="t", unit="°C", kind="number")
        extra = json.dumps({"note": "n", "more": {"a": 1}})
        say(device, (noon(), 20, {}), schema=first)
        say(device, (noon() + DAY / 48, None, {"metrics": [0.0, 7.5], "extra": extra}), schema=second)
        lines = table(make(owner, device))
        assert [line["temperature_c"] for line in lines] == ["20", ""]  # an array that is shorter lacks the value
        assert [line["door_open"] for line in lines] == ["", "false"]
        assert [line["power_w"] for line in lines] == ["", "7.5"]
        assert [line["note"] for line in lines] == ["", "n"]
        assert [line["extra"] for line in lines] == ["", '{"more": {"a": 1}}']

    def test_a_name_with_two_units_has_two_columns(self, device, owner):
        second = Schema.objects.create(device_type=device.device_type, version=2)
        Metric.objects.create(schema=second, position=0, name="temperature_c", label="t", unit="°F")
        say(device, (noon() + DAY / 48, None, {"metrics": [68.0]}), schema=second)
        (line,) = table(make(owner, device))
        assert (line["temperature_c (°C)"], line["temperature_c (°F)"]) == ("", "68")

    def test_a_metric_called_like_a_column_of_ours_has_another_name(self, place):
        schema = Schema.objects.create(device_type=DeviceFactory().device_type, version=1)
        for position, name in enumerate(("ts", "flags")):
            Metric.objects.create(schema=schema, position=position, name=name, label=name)
        sheet = sheets.sheet([schema.device_type_id], "reading", for_people=True)
        assert [each.name for each in sheet.columns][-2:] == ["ts_", "flags_"]

    def test_many_devices_and_days_come_in_pieces(self, device, owner, monkeypatch):
        monkeypatch.setattr(exports, "_PIECE", 1)
        others = [DeviceFactory(tenant=device.tenant, device_type=device.device_type) for _ in range(2)]
        for each in (device, *others):
            say(each, *((noon() + hours * DAY / 24, hours, {}) for hours in (-20, 0, 10)))
        export = make(owner, device, *others, since=noon() - DAY, until=noon() + DAY / 2)
        assert (export.rows, export.done, export.total) == (9, 6, 6)
        assert len({(line["device_id"], line["ts"]) for line in table(export)}) == 9


class TestFigures:
    @pytest.mark.parametrize(("model", "resolution"), [(Minute, "minute"), (Hour, "hour")])
    def test_of_minutes_and_hours(self, device, owner, model, resolution):
        schema = Schema.objects.get(device_type=device.device_type)
        told = telemetry_rows.figures(device, schema, noon()) | {
            "readings": 4, "counts": [4, 0], "sums": [10.0, None], "lows": [1.0, None], "highs": [4.0, None],
            "lasts": [3.0, None],
        }  # fmt: skip
        model.objects.create(**told)
        (line,) = table(make(owner, device, resolution=resolution))
        assert (line["start"][:19], line["readings"]) == (f"{noon():%Y-%m-%dT12:00:00}", "4")
        kinds = ("min", "avg", "max", "last", "count")
        assert [line[f"temperature_c_{kind}"] for kind in kinds] == ["1", "2.5", "4", "3", "4"]
        assert [line[f"humidity_pct_{kind}"] for kind in kinds] == ["", "", "", "", "0"]
        assert [line[f"door_open_{kind}"] for kind in kinds] == ["", "", "", "", "0"]
        assert "note" not in line


class TestParquet:
    def test_has_types_and_texts_as_they_are(self, device, owner, tmp_path):
        msg_id = uuid.uuid4()
        extra = json.dumps({"note": '=1+1,\n"x"'})
        say(device, (noon(), None, {"msg_id": msg_id, "metrics": [1.5, None, 0.0], "extra": extra}))
        say(device, (noon() + DAY / 24, 2, {"extra": json.dumps({"note": ""})}))
        export = make(owner, device, format_="parquet")
        path = tmp_path / "got.parquet"
        path.write_bytes(read(export))
        types = {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE '{path}'").fetchall()}
        assert types["ts"] == "TIMESTAMP WITH TIME ZONE"
        assert (types["msg_id"], types["temperature_c"], types["door_open"]) == ("UUID", "DOUBLE", "BOOLEAN")
        epochs = "epoch_ms(ts) AS ts, epoch_ms(received_at) AS received_at"
        told, second = (
            dict(zip(types, line, strict=True))
            for line in duckdb.sql(f"SELECT * REPLACE ({epochs}) FROM '{path}' ORDER BY ts").fetchall()
        )
        assert (told["device_id"], told["msg_id"], told["temperature_c"]) == (device.device_id, msg_id, 1.5)
        assert (told["humidity_pct"], told["door_open"], told["note"]) == (None, False, '=1+1,\n"x"')
        assert (told["ts"], second["note"]) == (noon().timestamp() * 1000, "")
        assert export.rows == 2

    def test_units_that_differ_in_case_only_are_two_columns(self, device, owner):
        for version, unit in enumerate(("mW", "MW"), 2):
            schema = Schema.objects.create(device_type=device.device_type, version=version)
            Metric.objects.create(schema=schema, position=0, name="power", label="p", unit=unit)
        export = make(owner, device, format_="parquet")
        assert export.size
        assert [each for each in read(make(owner, device)).decode().strip().split(",") if "power" in each] == [
            "power (mW)", "power (MW)_",
        ]  # fmt: skip


class TestWhoAndWhat:
    def mistake(self, *told, **named):
        with pytest.raises(ExportError) as refused:
            ask(*told, **named)
        assert not Export.objects.exists()
        return refused.value.code, refused.value.path

    def test_a_foreign_device_is_not_there(self, device, owner):
        foreign = DeviceFactory()
        assert self.mistake(owner, device, foreign) == ("device_unknown", "$.devices[1]")
        assert self.mistake(owner, device, "d-nobody") == ("device_unknown", "$.devices[1]")

    def test_one_file_has_one_tenant(self, device):
        assert self.mistake(StaffFactory(), device, DeviceFactory()) == ("several_tenants", "$.devices[1]")

    def test_devices_are_some_but_not_too_many(self, device, owner):
        assert self.mistake(owner) == ("devices_missing", "$.devices")
        many = [f"d-{number}" for number in range(exports.MAX_DEVICES + 1)]
        assert self.mistake(owner, *many) == ("too_many_devices", "$.devices")

    @pytest.mark.parametrize(
        ("since", "until", "resolution", "code"),
        [
            (0, 0, "reading", "range_empty"),
            (1, 0, "reading", "range_empty"),
            (5, 9, "reading", "range_empty"),
            (-402, 0, "hour", "range_too_long"),
            (-420, -410, "reading", "range_too_old"),
            (-100, -95, "minute", "range_too_old"),
            (-1900, -1850, "hour", "range_too_old"),
        ],
    )
    def test_a_range_must_be_one_that_is_there(self, device, owner, since, until, resolution, code):
        told = {"since": noon() + since * DAY, "until": noon() + until * DAY, "resolution": resolution}
        assert self.mistake(owner, device, **told)[0] == code

    def test_a_tenant_has_some_at_a_time_and_another_its_own(self, device, owner):
        for _ in range(exports.MAX_OPEN):
            ask(owner, device)
        with pytest.raises(ExportError) as refused:
            ask(owner, device)
        assert (refused.value.code, refused.value.status) == ("too_many_exports", 429)
        other = DeviceFactory(device_type=device.device_type)
        assert ask(member(other.tenant), other).pk
        exports.run(Export.objects.filter(tenant=device.tenant).first().pk)
        assert ask(owner, device).pk

    def test_the_files_of_a_tenant_may_take_so_much(self, device, owner, monkeypatch):
        say(device, (noon(), 4.5, {}))
        export = ask(owner, device)
        exports.run(export.pk)
        export.refresh_from_db()
        monkeypatch.setattr(exports, "MAX_KEPT_BYTES", export.size)
        with pytest.raises(ExportError) as refused:
            ask(owner, device)
        assert (refused.value.code, refused.value.status) == ("exports_full", 429)
        other = DeviceFactory(device_type=device.device_type)
        assert ask(member(other.tenant), other).pk
        exports.remove(export, owner, noon())
        assert ask(owner, device).pk

    def test_is_evidence_of_the_tenant(self, device, owner):
        export = ask(owner, device)
        event = Event.objects.get(kind="export.requested")
        assert (event.user, event.tenant, event.detail["export"]) == (owner, device.tenant, str(export.pk))

    def test_whoever_asked_and_staff_with_the_right_remove_it(self, device, owner, django_user_model):
        export = ask(owner, device)
        assert exports.may_remove(export, owner)
        assert exports.may_remove(export, StaffFactory())
        assert not exports.may_remove(export, member(device.tenant))
        assert not exports.may_remove(export, StaffFactory(is_superuser=False))


class TestWhatBreaks:
    def test_too_many_rows_are_told_and_leave_nothing(self, device, owner, place, monkeypatch):
        monkeypatch.setattr(exports, "MAX_ROWS", 2)
        say(device, *((noon() + number * DAY / 24, number, {}) for number in range(3)))
        export = ask(owner, device)
        exports.run(export.pk)
        export.refresh_from_db()
        assert export.state == "failed"
        assert export.error.startswith("More than 2 rows")
        assert list(place.glob("*")) == []
        with pytest.raises(ExportError, match="no file"):
            exports.open_file(export)

    def test_too_many_bytes_are_told_and_leave_nothing(self, device, owner, place, monkeypatch):
        monkeypatch.setattr(exports, "MAX_BYTES", 100)
        say(device, *((noon() + number * DAY / 24, number, {}) for number in range(3)))
        export = ask(owner, device)
        exports.run(export.pk)
        export.refresh_from_db()
        assert export.state == "failed"
        assert "take a shorter range" in export.error
        assert list(place.glob("*")) == []

    def test_too_many_columns_are_told(self, device, owner, monkeypatch):
        monkeypatch.setattr(sheets, "MAX_COLUMNS", 3)
        export = ask(owner, device)
        exports.run(export.pk)
        export.refresh_from_db()
        assert "fewer types" in export.error

    def test_half_a_file_is_never_served_and_the_next_worker_starts_over(self, device, owner, place, monkeypatch):
        say(device, (noon() - DAY / 2, 1, {}), (noon() + DAY / 24, 2, {}))
        export = ask(owner, device)
        beats = []

        def dying(job, **changes):
            real(job, **changes)
            beats.append(changes)
            if "done" in changes and changes["done"] == 1:
                raise KeyboardInterrupt

        real = jobs.beat
        monkeypatch.setattr(jobs, "beat", dying)
        with pytest.raises(KeyboardInterrupt):
            exports.run(export.pk)
        export.refresh_from_db()
        assert (export.state, export.done, export.is_there) == ("running", 1, False)
        with pytest.raises(ExportError, match="no file"):
            exports.open_file(export)
        monkeypatch.setattr(jobs, "beat", real)
        assert jobs.resume(timezone.now() + jobs.STALE * 2) == 1
        exports.run(export.pk)
        export.refresh_from_db()
        assert (export.state, export.rows, export.starts) == ("done", 2, 2)
        assert [each.name for each in place.glob("*")] == [export.path]
        assert list(Path(ours.WORK_DIRECTORY).glob("*")) == []

    def test_what_a_killed_worker_had_put_into_the_store_is_removed(self, device, owner, place, monkeypatch):
        """Killed between the file and the row: nobody could clean up."""
        export = ask(owner, device)
        monkeypatch.setattr(jobs, "finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        store_delete = type(storages["exports"]).delete
        monkeypatch.setattr(type(storages["exports"]), "delete", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            exports.run(export.pk)
        monkeypatch.undo()
        assert type(storages["exports"]).delete is store_delete
        (left,) = place.glob("*")
        assert jobs.resume(timezone.now() + jobs.STALE * 2) == 1
        exports.run(export.pk)
        export.refresh_from_db()
        assert [each.name for each in place.glob("*")] == [export.path] != [left.name]

    def test_one_that_is_done_keeps_its_file_when_the_answer_is_lost(self, device, owner, monkeypatch):
        export = ask(owner, device)
        real = jobs.finish

        def unheard(job, **changes):
            real(job, **changes)
            raise OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(jobs, "finish", unheard)
        with pytest.raises(OperationalError):
            exports.run(export.pk)
        export.refresh_from_db()
        assert export.is_there
        assert read(export)

    def test_one_that_is_cancelled_at_its_end_leaves_nothing(self, device, owner, place, monkeypatch):
        export = ask(owner, device)
        real = jobs.finish

        def too_late(job, **changes):
            jobs.cancel(job, timezone.now())
            real(job, **changes)

        monkeypatch.setattr(jobs, "finish", too_late)
        exports.run(export.pk)
        assert list(place.glob("*")) == []

    def test_one_that_is_cancelled_while_it_runs_leaves_nothing(self, device, owner, place, monkeypatch):
        export = ask(owner, device)
        real = jobs.beat

        def canceling(job, **changes):
            real(job, **changes)
            exports.remove(export, owner, timezone.now())

        monkeypatch.setattr(jobs, "beat", canceling)
        exports.run(export.pk)
        export.refresh_from_db()
        assert export.state == "canceled"
        assert list(place.glob("*")) == []


class TestTheEnd:
    def test_files_are_kept_for_some_days(self, device, owner, place, settings):
        settings.EXPORT_DAYS = 3
        export = make(owner, device)
        assert len(export.path) > 30  # nobody guesses it
        assert exports.expire(timezone.now() + timedelta(days=2.9)) == 0
        assert exports.expire(timezone.now() + timedelta(days=3.1)) == 1
        export.refresh_from_db()
        assert (export.state, export.path, export.is_there, list(place.glob("*"))) == ("done", "", False, [])
        with pytest.raises(ExportError) as gone:
            exports.open_file(export)
        assert gone.value.status == 410
        assert exports.expire(timezone.now() + timedelta(days=9)) == 0

    def test_one_that_has_expired_is_not_served_even_before_it_is_deleted(self, device, owner, place):
        export = make(owner, device)
        Export.objects.update(expires_at=timezone.now())
        export.refresh_from_db()
        with pytest.raises(ExportError) as gone:
            exports.open_file(export)
        assert (gone.value.status, export.is_there, len(list(place.glob("*")))) == (410, False, 1)

    def test_removing_deletes_the_file_once_and_is_evidence(self, device, owner, place):
        export = make(owner, device)
        assert [exports.remove(export, owner, timezone.now()) for _ in range(2)] == [True, False]
        export.refresh_from_db()
        assert (export.is_there, list(place.glob("*"))) == (False, [])
        assert Event.objects.filter(kind="export.removed", tenant=device.tenant).count() == 1

    def test_a_file_somebody_deleted_is_gone_and_not_an_error(self, device, owner, place):
        export = make(owner, device)
        (place / export.path).unlink()
        with pytest.raises(ExportError) as gone:
            exports.open_file(export)
        assert gone.value.status == 410


def test_tenants_do_not_see_each_others(device, owner):
    export = ask(owner, device)
    assert list(Export.objects.visible_to(owner)) == [export]
    assert not Export.objects.visible_to(member(TenantFactory())).exists()
