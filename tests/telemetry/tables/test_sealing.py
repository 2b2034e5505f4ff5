from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection, transaction

from telemetry.archive.one_at_a_time import alone
from telemetry.tables import partitions, sealing, trees
from telemetry.tasks import seal_days
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.fleetportal.workers import workers
from tests.telemetry import days
from tests.telemetry.days import NOW, all_of

DAY = NOW.date() - timedelta(days=3)
NAME = partitions.partition(DAY)
_SHUFFLED = f"""
    INSERT INTO {NAME} (device_id, ts, msg_id, received_at, schema_id, flags, metrics)
    SELECT device_id, ts + n * interval '1 s', gen_random_uuid(), received_at, schema_id, flags, metrics
      FROM {NAME}, generate_series(1, 6000) AS n ORDER BY md5(n::text)
"""


def ask(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def size():
    return ask(f"SELECT pg_relation_size('{NAME}_pkey')")[0][0]


def indexes():
    return ask(f"SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = '{NAME}'::regclass")


@pytest.mark.parametrize(("hour", "due"), [(-1, False), (0, True), (1, True)])
def test_a_day_is_due_when_it_is_over_for_two_days(hour, due):
    over = datetime(2015, 6, 14, tzinfo=UTC)
    assert sealing.is_due(date(2015, 6, 11), over + timedelta(hours=hour)) is due


@pytest.mark.django_db(transaction=True)
class TestSealing:
    @pytest.fixture(autouse=True)
    def day(self):
        self.schema = SchemaFactory()
        self.device = DeviceFactory(device_type=self.schema.device_type)
        partitions.make_day(DAY)
        days.put([self.reading(0)])
        yield
        days.forget()

    def reading(self, second):
        return days.reading(self.device.pk, self.schema.pk, DAY, second)

    def test_its_index_is_packed_and_its_rows_are_frozen_once(self):
        ask(f"{_SHUFFLED} RETURNING 1")
        before, told = size(), all_of(DAY)
        assert sealing.seal_next(NOW) == NAME
        assert size() < before * 0.9
        assert ask(f"SELECT relallfrozen = relpages AND relpages > 0 FROM pg_class WHERE relname = '{NAME}'")[0][0]
        assert all_of(DAY) == told
        assert indexes() == [(f"{NAME}_pkey", True)]
        assert ask("SHOW lock_timeout") == [("0",)]
        assert sealing.seal_next(NOW) == ""

    def test_one_day_a_run_the_newest_first_and_none_that_is_not_over(self):
        for day in (DAY + timedelta(days=1), DAY - timedelta(days=1)):
            partitions.make_day(day)
        assert [sealing.seal_next(NOW) for _ in range(3)] == [NAME, partitions.partition(DAY - timedelta(days=1)), ""]

    def test_a_day_that_was_dropped_and_restored_is_open_again(self):
        sealing.seal_next(NOW)
        trees.drop(partitions.READINGS, DAY)
        partitions.make_day(DAY)
        assert sealing.seal_next(NOW) == NAME

    def test_who_is_in_the_way_for_too_long_costs_a_try_whose_rest_is_cleared_away(self, monkeypatch):
        monkeypatch.setattr(sealing, "PATIENCE", "100ms")
        with workers(1) as (other,):
            with transaction.atomic():
                days.put([self.reading(86_000)])
                assert other(sealing.seal_next, NOW) == ""
            assert sorted(indexes()) == [(f"{NAME}_pkey", True), (f"{NAME}_pkey_ccnew", False)]
            assert other(sealing.seal_next, NOW) == NAME
        assert indexes() == [(f"{NAME}_pkey", True)]
        assert len(all_of(DAY)) == 2

    def test_ingest_goes_on_while_it_waits(self):
        with workers(2) as (sealer, writer):
            pid = sealer.pid()
            with transaction.atomic():
                days.put([self.reading(1)])
                sealing_it = sealer.begin(sealing.seal_next, NOW)
                peers.eventually(lambda: ask(f"SELECT cardinality(pg_blocking_pids({pid})) > 0")[0][0], what="it waits")
                writer(days.put, [self.reading(2)])
                assert not sealing_it.done()
            assert sealing_it.result(30) == NAME
        assert len(all_of(DAY)) == 3

    def test_nothing_is_done_while_the_archive_or_retention_are_at_work(self):
        with workers(1) as (other,):
            with alone():
                assert other(sealing.seal_next, NOW) == ""
            assert other(sealing.seal_next, NOW) == NAME

    def test_the_task_seals_what_is_over_by_now(self):
        sealed = {seal_days() for _ in partitions.days()}
        assert NAME in sealed
