import errno
import json
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from django.core.files.storage import storages
from django.db import Error, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.models import Finding
from telemetry.archive import archives, restores, writing
from telemetry.archive import files as archive_files
from telemetry.archive.files import ArchiveError
from telemetry.models import ArchivedDay, Retention, Touched
from telemetry.tables import partitions
from tests.factories import DeviceFactory, SchemaFactory
from tests.fleetportal.workers import workers
from tests.telemetry.archiving import fill, overwrite, own_storage
from tests.telemetry.days import NOW, OLD, all_of, forget, put, reading

DAY = timedelta(days=1)
LATER = NOW + 60 * DAY


@pytest.fixture(autouse=True)
def archive(settings, tmp_path):
    return own_storage(settings, tmp_path)


@pytest.fixture
def device(db):
    return DeviceFactory(device_type=SchemaFactory().device_type)


class TestADay:
    def test_it_leaves_the_database_and_lies_in_the_archive(self, device, archive):
        fill(device)
        assert archives.archive_due(NOW) == [OLD]
        assert OLD not in partitions.days()
        part = ArchivedDay.objects.get()
        assert (part.day, part.part, part.rows, part.dropped_at) == (OLD, 1, 3, NOW)
        assert (part.tenants, part.device_types) == ([device.tenant_id], [device.device_type_id])
        assert (archive / part.path).stat().st_size == part.size
        assert part.state(NOW) == "archived"

    def test_its_file_and_manifest_can_be_read_without_the_database(self, device, archive):
        fill(device)
        archives.archive_due(NOW)
        part = ArchivedDay.objects.get()
        told = json.loads((archive / archive_files.manifest_path(part.path)).read_text())
        schema = device.device_type.schemas.get()
        assert [each["name"] for each in told["schemas"][str(schema.pk)]["numbers"]] == [
            "temperature_c", "humidity_pct", "door_open",
        ]  # fmt: skip
        origin = {"device": device.device_id, "tenant": device.tenant.slug, "device_type": device.device_type.slug}
        assert told["devices"] == {str(device.pk): origin | {"readings": 3}}
        rows = duckdb.sql(f"SELECT device, metrics, m1, m2 FROM '{archive / part.path}'").fetchall()
        assert rows == [(device.device_id, 3, 4.5, None)] * 3
        assert [each["name"] for each in told["columns"]] == duckdb.sql(f"FROM '{archive / part.path}'").columns

    def test_nobody_can_write_to_its_files_any_more(self, device, archive):
        fill(device)
        archives.archive_due(NOW)
        files = [each for each in archive.rglob("*") if each.is_file()]
        assert [each.stat().st_mode & 0o777 for each in files] == [0o440, 0o440]

    def test_days_that_ingest_may_still_write_to_stay(self, device):
        fill(device, OLD + DAY)
        assert archives.archive_due(NOW) == []
        assert len(all_of(OLD + DAY)) == 3

    def test_an_empty_day_is_dropped_without_a_file(self, db):
        partitions.make_day(OLD)
        assert archives.archive_due(NOW) == [OLD]
        assert not ArchivedDay.objects.exists()

    def test_a_stray_of_an_old_day_comes_along(self, device):
        put([reading(device.pk, device.device_type.schemas.get().pk, OLD)])
        assert archives.archive_due(NOW) == [OLD]
        assert ArchivedDay.objects.get().rows == 1
        assert partitions.STRAYS not in (partitions.partition(day) for day in partitions.days())

    def test_what_a_rule_of_retention_takes_is_in_no_file(self, device):
        other = DeviceFactory(device_type=device.device_type)
        fill(device)
        fill(other, count=2)
        Retention.objects.create(tenant=device.tenant, days=30, reason="contract")
        archives.archive_due(NOW)
        part = ArchivedDay.objects.get()
        assert (part.rows, part.tenants) == (2, [other.tenant_id])

    def test_it_waits_while_rollups_are_behind(self, device):
        fill(device)
        touched = Touched.objects.create(grain="minute", devices=[device.pk], buckets=[1])
        Touched.objects.filter(pk=touched.pk).update(created_at=NOW - DAY)
        assert archives.archive_due(NOW) == []
        assert len(all_of(OLD)) == 3


class TestExactly:
    FLOATS = [-0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e15, 1e16, 123456789.123456789, -1e-7]

    @pytest.mark.parametrize(
        "changes",
        [
            {"metrics": FLOATS},
            {"metrics": []},
            {"metrics": [None, None]},
            {"extra": '{"b": 1.00, "a": "\\" , \\n ü \\u2028", "n": 1e400}'},
            {"extra": '""'},
            {"extra": "null"},
            {"flags": -32768},
        ],
    )
    def test_it_comes_back(self, device, changes):
        fill(device)
        put([reading(device.pk, 1, OLD, 86399.999999, **changes)])
        before = all_of(OLD)
        assert archives.archive_due(NOW) == [OLD]
        assert all_of(OLD) == []
        assert restores.restore(OLD, NOW).put == 4
        assert all_of(OLD) == before

    numbers = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=5)
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
    extras = st.none() | st.dictionaries(texts, texts | st.integers() | st.booleans() | st.none(), max_size=3).map(
        json.dumps
    )
    readings = st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 86_399_999_999), st.uuids(), numbers, extras, st.integers(0, 3)),
        min_size=1,
        max_size=12,
        unique_by=lambda told: told[:3],
    )

    @given(readings)
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_is_archived_and_restored_is_what_it_was(self, db, told):
        with transaction.atomic():
            partitions.make_day(OLD)
            put([
                reading(device, 1, OLD, micros / 1e6, msg_id=msg_id, metrics=metrics, extra=extra, flags=flags)
                for device, micros, msg_id, metrics, extra, flags in told
            ])  # fmt: skip
            before = all_of(OLD)
            assert archives.archive_due(NOW) == [OLD]
            assert all_of(OLD) == []
            restores.restore(OLD, NOW)
            assert all_of(OLD) == before
            transaction.set_rollback(True)

    def test_a_month_that_was_dropped_is_restored_as_it_was(self, device):
        days = [OLD - number * DAY for number in range(31)]
        for number, day in enumerate(days):
            fill(device, day, count=1 + number % 3, metrics=[number / 3, None, 1.0])
        before = {day: all_of(day) for day in days}
        assert archives.archive_due(NOW) == sorted(days)
        dropped = dict(ArchivedDay.objects.values_list("day", "digest"))
        assert all(all_of(day) == [] for day in days)
        for day in days:
            restores.restore(day, NOW)
        assert {day: all_of(day) for day in days} == before
        assert {day: archives.ask(day).digest for day in days} == dropped


class TestRestored:
    def test_it_stays_its_time_and_is_dropped_again_without_another_part(self, device):
        fill(device)
        archives.archive_due(NOW)
        restores.restore(OLD, NOW, keep_days=30)
        assert ArchivedDay.objects.get().state(NOW) == "restored until 2015-07-15"
        assert archives.archive_due(NOW + 29 * DAY) == []
        assert archives.archive_due(NOW + 31 * DAY) == [OLD]
        part = ArchivedDay.objects.get()
        assert (part.part, part.state(LATER)) == (1, "archived")

    def test_one_that_was_changed_gets_another_part(self, device):
        fill(device)
        archives.archive_due(NOW)
        restores.restore(OLD, NOW)
        put([reading(device.pk, 1, OLD, 5)])
        before = all_of(OLD)
        archives.archive_due(LATER)
        assert list(ArchivedDay.objects.values_list("part", "rows")) == [(1, 3), (2, 4)]
        assert restores.restore(OLD, LATER).put == 4
        assert all_of(OLD) == before

    def test_what_is_in_the_database_stays_as_it_is(self, device):
        fill(device)
        archives.archive_due(NOW)
        restores.restore(OLD, NOW)
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {partitions.partition(OLD)} SET flags = 1")
        assert restores.restore(OLD, NOW).put == 0
        assert {row[5] for row in all_of(OLD)} == {1}

    def test_one_that_was_to_stay_longer_does(self, device):
        fill(device)
        archives.archive_due(NOW)
        for days in (365, 1):
            restores.restore(OLD, NOW, keep_days=days)
        assert ArchivedDay.objects.get().keep_until == NOW + 365 * DAY

    def test_what_a_rule_of_retention_took_does_not_come_back(self, device):
        other = DeviceFactory(device_type=device.device_type)
        for each in (device, other):
            fill(each)
        archives.archive_due(NOW)
        rule = Retention.objects.create(tenant=other.tenant, days=30, reason="contract")
        done = restores.restore(OLD, NOW)
        assert (done.rows, done.put, done.taken) == (6, 6, 3)
        assert {row[0] for row in all_of(OLD)} == {device.pk}
        rule.refresh_from_db()
        assert rule.deleted == 3, "the rule's next event tells of them"

    def test_a_file_that_rotted_is_not_restored(self, device, archive):
        fill(device)
        archives.archive_due(NOW)
        part = ArchivedDay.objects.get()
        damage(archive / part.path)
        with pytest.raises(ArchiveError, match=part.path):
            restores.restore(OLD, NOW)
        assert all_of(OLD) == []
        assert part.state(NOW) == "archived"

    def test_nor_one_whose_manifest_tells_of_another(self, device, archive):
        fill(device)
        archives.archive_due(NOW)
        manifest = archive / archive_files.manifest_path(ArchivedDay.objects.get().path)
        told = json.loads(manifest.read_text())
        overwrite(manifest, json.dumps(told | {"file_digest": "0" * 64}).encode())
        with pytest.raises(ArchiveError, match="its manifest"):
            restores.restore(OLD, NOW)

    def test_a_day_that_never_was_archived(self, db):
        with pytest.raises(ArchiveError, match=f"{OLD}: never archived"):
            restores.restore(OLD, NOW)

    def test_a_rotted_file_is_written_anew_while_the_day_is_back(self, device, archive):
        fill(device)
        archives.archive_due(NOW)
        restores.restore(OLD, NOW)
        before = all_of(OLD)
        damage(archive / ArchivedDay.objects.get().path)
        archives.archive_due(LATER)
        part = ArchivedDay.objects.get(part=2)
        assert part.rows == len(before)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    overwrite(file, bytes(content))


class Killed(BaseException):
    """What no except clause expects, as a power cut."""


STEPS = [
    (writing, "_make"),
    (archive_files, "put"),
    (archive_files, "_settle"),
    (archive_files, "fetch"),
    (archive_files, "write_manifest"),
    (archive_files, "read_manifest"),
    (ArchivedDay.objects, "create"),
    (partitions, "drop_day"),
]


class TestACrash:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(("where", "step"), STEPS, ids=[step for _, step in STEPS])
    def test_at_any_step_loses_nothing_and_the_next_run_goes_on(self, device, monkeypatch, where, step, after):
        fill(device)
        before = all_of(OLD)
        real = getattr(where, step)

        def cut(*args, **kwargs):
            if after:
                real(*args, **kwargs)
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(where, step, cut)
            archives.archive_due(NOW)
        if not (after and step == "drop_day"):
            assert all_of(OLD) == before
            assert archives.archive_due(NOW) == [OLD]
        assert all_of(OLD) == []
        assert ArchivedDay.objects.get().dropped_at == NOW
        restores.restore(OLD, NOW)
        assert all_of(OLD) == before

    def test_a_day_that_changed_meanwhile_is_not_dropped(self, device, monkeypatch):
        fill(device)
        real = writing.write

        def changed(*args):
            written = real(*args)
            with connection.cursor() as cursor:
                cursor.execute(f"UPDATE {partitions.partition(OLD)} SET metrics[1] = 4.500000000000001")
            return written

        with monkeypatch.context() as patch:
            patch.setattr(writing, "write", changed)
            assert archives.archive_due(NOW) == []
        assert len(all_of(OLD)) == 3
        assert archives.archive_due(NOW) == [OLD]
        assert list(ArchivedDay.objects.values_list("part", flat=True)) == [1, 2]

    def test_a_full_disk_is_a_finding_until_there_is_room(self, device, archive, monkeypatch):
        fill(device)
        storage = type(storages["archive"])

        def full(self, name, content):
            (archive / name).parent.mkdir(parents=True, exist_ok=True)
            (archive / name).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(storage, "_save", full)
            assert archives.archive_due(NOW) == []
        finding = Finding.objects.get(kind="archive_failed", resolved_at__isnull=True)
        assert (finding.subject, finding.severity) == (str(OLD), "critical")
        assert "No space left" in finding.detail
        assert not list(archive.rglob("*.parquet"))
        assert len(all_of(OLD)) == 3
        assert archives.archive_due(NOW) == [OLD]
        finding.refresh_from_db()
        assert finding.resolved_at

    def test_a_storage_that_gives_back_something_else_is_found_out(self, device, archive, monkeypatch):
        fill(device)
        real = archive_files._settle

        def rot(there, path):
            real(there, path)
            if path.endswith(".parquet"):
                damage(Path(there.path(path)))

        monkeypatch.setattr(archive_files, "_settle", rot)
        assert archives.archive_due(NOW) == []
        assert len(all_of(OLD)) == 3
        assert not ArchivedDay.objects.exists()
        assert Finding.objects.filter(kind="archive_failed", resolved_at__isnull=True).exists()

    def test_two_that_write_one_path_are_found_out(self, device, archive, monkeypatch):
        fill(device)
        monkeypatch.setattr(type(storages["archive"]), "get_available_name", lambda _, name, **__: f"{name}.x")
        assert archives.archive_due(NOW) == []
        assert "at the same time" in Finding.objects.get(kind="archive_failed").detail
        assert not [each for each in archive.rglob("*") if each.is_file()]

    def test_a_database_put_back_to_an_earlier_moment_overwrites_no_file(self, device, archive):
        fill(device)
        archives.archive_due(NOW)
        part = ArchivedDay.objects.get()
        written = (archive / part.path).read_bytes()
        part.delete()
        fill(device, count=1)
        archives.archive_due(NOW)
        assert (archive / part.path).read_bytes() == written
        assert ArchivedDay.objects.get().part == 2

    @pytest.mark.parametrize("manifest", [b"{", None], ids=["broken", "lost"])
    def test_nor_one_whose_manifest_cannot_be_read(self, device, archive, manifest):
        fill(device)
        archives.archive_due(NOW)
        part = ArchivedDay.objects.get()
        written = (archive / part.path).read_bytes()
        (archive / archive_files.manifest_path(part.path)).unlink()
        if manifest:
            (archive / archive_files.manifest_path(part.path)).write_bytes(manifest)
        part.delete()
        fill(device, count=1)
        assert archives.archive_due(NOW) == [OLD]
        assert (archive / part.path).read_bytes() == written
        assert ArchivedDay.objects.get().part == 2

    def test_a_file_whose_manifest_cannot_be_written_does_not_stay(self, device, archive, monkeypatch):
        fill(device)

        def full(manifest):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(archive_files, "write_manifest", full)
        for _ in range(2):
            assert archives.archive_due(NOW) == []
        assert not list(archive.rglob("*.parquet"))

    def test_one_bad_day_does_not_keep_the_others(self, device):
        fill(device)
        fill(device, OLD - DAY)
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {partitions.partition(OLD - DAY)} SET metrics = '[0:1]={{1,2}}'")
        assert archives.archive_due(NOW) == [OLD]
        assert Finding.objects.get(kind="archive_failed").subject == str(OLD - DAY)


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.fixture(autouse=True)
    def gone_afterwards(self):
        yield
        forget()

    def test_a_second_worker_leaves_it_to_the_first(self, device):
        fill(device)
        with workers(1) as (other,):
            other(_take_the_lock)
            assert archives.archive_due(NOW) == []
            with pytest.raises(ArchiveError, match="another process"):
                restores.restore(OLD, NOW)
            other.kill()
        assert archives.archive_due(NOW) == [OLD]

    def test_a_long_read_only_puts_it_off(self, device):
        fill(device)
        with workers(1) as (reader,), connection.cursor() as cursor:
            reader(_read_for_long)
            assert archives.archive_due(NOW) == []
            assert not Finding.objects.exists()
            cursor.execute(f"SELECT count(*) FROM {partitions.partition(OLD)}")
            assert cursor.fetchone()[0] == 3
            reader(_done_reading)
            assert archives.archive_due(NOW) == [OLD]
        assert ArchivedDay.objects.count() == 1

    def test_a_database_that_goes_away_is_no_finding(self, device, monkeypatch):
        fill(device)
        with monkeypatch.context() as patch, workers(1) as (worker,):
            patch.setattr(archives, "ask", _lose_the_connection)
            with pytest.raises(Error):
                worker(archives.archive_due, NOW)
        assert not Finding.objects.exists()
        assert archives.archive_due(NOW) == [OLD]


def _lose_the_connection(day):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def _take_the_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [0x9A60])


def _read_for_long():
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT count(*) FROM telemetry_reading")


def _done_reading():
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")
