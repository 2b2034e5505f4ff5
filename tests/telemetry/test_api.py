from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device
from telemetry.api import SeriesView
from telemetry.charting import cells
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory, UserFactory, member
from tests.telemetry.past import DAY, HOUR, SECOND, say, wave

pytestmark = pytest.mark.django_db


@pytest.fixture
def schema():
    return SchemaFactory()


@pytest.fixture
def device(days, schema):
    device = DeviceFactory(device_type=schema.device_type)
    now = timezone.now()
    say(device, schema, [(now - timedelta(seconds=each), each) for each in (5, 100, 5000)])
    return device


@pytest.fixture
def ask(client, device):
    """Ask as a member of the device's tenant, or as somebody else (None: nobody)."""

    def do(path="series", user=..., device_id=device.device_id, **query):
        user = member(device.tenant) if user is ... else user
        if user:
            client.force_login(user)
        address = f"/api/v1/devices/{device_id}/{path}" if device_id else f"/api/v1/{path}"
        return client.get(address, query)

    return do


class TestRange:
    def test_the_last_quarter_of_an_hour(self, ask):
        answer = ask()
        assert answer.status_code == 200
        body = answer.json()
        assert body["values"]["temperature_c"] == [100.0, 5.0]
        assert (body["step_ms"], body["source"]) == (1000, "reading")
        assert body["times"] == sorted(body["times"])
        assert body["since"] <= body["times"][0] < body["times"][-1] < body["until"]
        assert body["metrics"][0] == {
            "name": "temperature_c", "label": "temperature_c", "unit": "°C", "kind": "number",
        }  # fmt: skip

    @pytest.mark.parametrize(("seconds", "count"), [(10, 1), (200, 2), (31 * 86400, 2)])
    def test_in_seconds(self, ask, seconds, count):
        values = ask(seconds=seconds).json()["values"]["temperature_c"]
        assert len([value for value in values if value is not None]) == count

    def test_by_moments_with_a_zone_or_in_milliseconds(self, ask, device):
        newest = device.readings.order_by("-ts")[1].ts
        since, until = newest - 10 * SECOND, newest + 10 * SECOND
        for asked in (
            {"since": since.isoformat(), "until": until.isoformat()},
            {"since": since.isoformat().replace("+00:00", "Z"), "until": int(until.timestamp() * 1000)},
            {"until": until.isoformat(), "seconds": 20},
        ):
            assert ask(**asked).json()["values"]["temperature_c"] == [100.0]

    def test_points_and_resolution_are_the_callers_choice(self, ask):
        body = ask(seconds=86400, points=24, resolution="hour").json()
        assert (body["source"], body["step_ms"]) == ("hour", 6 * 3600 * 1000)
        assert ask(seconds=86400).json()["source"] == "minute"

    @pytest.mark.parametrize("seconds", ["9", str(3660 * 86400 + 1), "-1", "abc", "1e3", "9" * 400])
    def test_seconds_that_are_no_range(self, ask, seconds):
        answer = ask(seconds=seconds)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid")
        assert list(answer.json()["errors"]) == ["seconds"]

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"since": "yesterday"}, "since"),
            ({"since": "2026-11-21T17:00:00"}, "since"),
            ({"since": "2026-11-21"}, "since"),
            ({"since": "0001-01-01T00:00:00Z"}, "since"),
            ({"since": "9999-12-31T23:59:59-23:59"}, "since"),
            ({"until": "9" * 15}, "until"),
            ({"until": "9" * 400}, "until"),
            ({"until": "²"}, "until"),
            ({"until": "a\0b"}, "until"),
            ({"since": "2026-11-21T17:00:00Z", "until": "2026-11-21T17:00:00Z"}, "until"),
            ({"since": "2000-01-01T00:00:00Z"}, "since"),
            ({"since": "2026-11-21T17:00:00Z", "seconds": "60"}, "seconds"),
            ({"points": "2001"}, "points"),
            ({"points": "9"}, "points"),
            ({"resolution": "second"}, "resolution"),
            ({"resolution": "reading", "seconds": "900000"}, "resolution"),
            ({"metric": "Temperature"}, "metric"),
            ({"metric": "pressure_bar"}, "metric"),
            ({"metric": "note"}, "metric"),
            ({"metric": [f"m{number}" for number in range(51)]}, "metric"),
        ],
    )
    def test_what_is_wrong_is_named(self, ask, asked, field):
        answer = ask(**asked)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid")
        assert list(answer.json()["errors"]) == [field]

    def test_metrics_are_chosen_by_name(self, ask):
        assert list(ask(metric=["door_open", "temperature_c"]).json()["values"]) == ["door_open", "temperature_c"]


PATHS = ["series", "band", "comparable"]


class TestWhoMay:
    @pytest.mark.parametrize("path", PATHS)
    def test_a_device_of_another_tenant_is_not_there(self, ask, device, path):
        stranger = member(DeviceFactory().tenant)
        answers = [ask(path, stranger, each, metric="temperature_c") for each in (device.device_id, "d-nobody")]
        assert [answer.status_code for answer in answers] == [404, 404]
        a, b = (answer.json() for answer in answers)
        assert a.pop("correlation_id") != b.pop("correlation_id")
        assert a == b  # nobody can tell the two apart

    @pytest.mark.parametrize("path", PATHS)
    def test_without_a_membership_nothing_is_there(self, ask, path):
        assert ask(path, UserFactory(), metric="temperature_c").status_code == 404

    @pytest.mark.parametrize("path", PATHS)
    def test_staff_see_every_device(self, ask, path):
        assert ask(path, StaffFactory(), metric="temperature_c").status_code == 200

    @pytest.mark.parametrize("path", PATHS)
    def test_somebody_not_signed_in_is_refused(self, ask, path):
        answer = ask(path, None)
        assert answer.status_code in (401, 403)
        assert answer.headers["Content-Type"] == "application/problem+json"

    def test_a_device_without_readings_has_none(self, ask):
        device = DeviceFactory()
        body = ask(user=member(device.tenant), device_id=device.device_id).json()
        assert (body["times"], body["values"]) == ([], {})


class TestComparison:
    @pytest.fixture
    def other(self, device, schema):
        other = DeviceFactory(device_type=schema.device_type, tenant=device.tenant, name="Other")
        say(other, schema, [(timezone.now() - timedelta(seconds=50), 50)])
        return other

    def compare(self, ask, *devices, user=..., **asked):
        ids = [getattr(each, "device_id", each) for each in devices]
        return ask("series", user, None, device=ids, **{"metric": "temperature_c"} | asked)

    def test_devices_share_one_axis_in_the_order_asked_for(self, ask, device, other):
        body = self.compare(ask, other, device, other).json()
        assert list(body["values"]) == [other.device_id, device.device_id]
        assert body["values"][device.device_id] == [100.0, None, 5.0]
        assert body["values"][other.device_id] == [None, 50.0, None]
        assert body["names"] == {other.device_id: "Other", device.device_id: str(device)}
        assert body["metrics"][0]["unit"] == "°C"

    def test_one_foreign_or_unknown_device_and_there_is_nothing(self, ask, device, other, schema):
        foreign = DeviceFactory(device_type=schema.device_type)
        answers = [self.compare(ask, device, each) for each in (foreign, "d-nobody")]
        assert [answer.status_code for answer in answers] == [404, 404]
        a, b = (answer.json() for answer in answers)
        assert a.pop("correlation_id") != b.pop("correlation_id")
        assert a == b
        assert self.compare(ask, other, user=member(foreign.tenant)).status_code == 404

    def test_what_is_wrong_is_named(self, ask, device):
        wrong = {
            "device": self.compare(ask, *(f"d-{number}" for number in range(11))),
            "metric": self.compare(ask, device, metric="pressure_bar"),
            "seconds": self.compare(ask, device, seconds=1),
        }
        for field, answer in wrong.items():
            assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
        assert list(self.compare(ask).json()["errors"]) == ["device"]
        assert list(self.compare(ask, device, metric=[]).json()["errors"]) == ["metric"]

    def test_what_may_be_compared_is_of_the_same_tenant_and_measures_the_same(self, ask, device, other, schema):
        DeviceFactory(device_type=schema.device_type, name="Foreign")
        DeviceFactory(tenant=device.tenant, name="Of another type")
        DeviceFactory(
            tenant=device.tenant, device_type=schema.device_type, state=Device.State.REGISTERED, name="To come"
        )
        DeviceFactory(tenant=device.tenant, device_type=schema.device_type, name="Never spoke")
        for text in ("", "OTH", other.device_id):
            found = ask("comparable", metric="temperature_c", q=text).json()["devices"]
            assert found == [{"device": other.device_id, "name": "Other"}]
        for asked in ({"q": "nothing"}, {"metric": "pressure_bar"}):
            assert ask("comparable", **{"metric": "temperature_c"} | asked).json()["devices"] == []
        assert ask("comparable").status_code == 400
        assert ask("comparable", metric="temperature_c", q="a\0b").status_code == 400


class TestBand:
    def test_what_was_usual_and_when_it_was_left(self, ask, device, schema):
        now = timezone.now().replace(minute=0, second=0, microsecond=0)
        wave(device, schema, now - 40 * DAY, now - 1 * DAY)
        say(device, schema, [(now - 12 * HOUR, 60)])
        body = ask("band", metric="temperature_c", seconds=86400).json()
        assert body["days"] in (28, 29)  # four weeks touch a day more, but in the first hour of one
        assert (body["reason"], body["metric"]["unit"]) == ("", "°C")
        assert len(body["times"]) == len(body["lows"]) == len(body["highs"]) >= 25
        at = int((now - 12 * HOUR).timestamp() * 1000)
        assert at in body["outside"]
        assert {at}.union(body["outside"]) <= set(ask(seconds=86400).json()["times"])

    def test_without_a_past_there_is_a_reason_instead(self, ask):
        body = ask("band", metric="temperature_c").json()
        assert (body["times"], body["reason"]) == ([], "There are fewer than 7 days of readings before this range.")

    def test_a_metric_must_be_named_and_known(self, ask):
        for asked in ({}, {"metric": "pressure_bar"}, {"metric": "note"}):
            answer = ask("band", **asked)
            assert (answer.status_code, list(answer.json()["errors"])) == (400, ["metric"])


class TestHeavyCharts:
    def test_one_that_takes_too_long_says_what_to_do(self, ask, monkeypatch):
        slow = cells._READINGS.replace("FROM telemetry_reading", "FROM pg_sleep(20), telemetry_reading")
        monkeypatch.setattr(cells, "_READINGS", slow)
        monkeypatch.setattr(cells, "PATIENCE", "50ms")
        answer = ask(resolution="reading")
        assert (answer.status_code, answer.json()["error_code"]) == (400, "too_much")
        assert "coarser resolution" in answer.json()["detail"]

    def test_patience_ends_with_the_question(self, ask):
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            before = cursor.fetchone()
            assert ask().status_code == 200
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == before

    def test_so_many_a_minute_of_one_person(self, ask, device, monkeypatch):
        throttle = SeriesView.throttle_classes[0]
        assert throttle.THROTTLE_RATES["charts"] == "300/min"
        monkeypatch.setattr(throttle, "THROTTLE_RATES", {"charts": "3/min"})
        person = member(device.tenant)
        several = {"path": "series", "device_id": "", "device": device.device_id}
        for asked in ({}, {"path": "band"}, several):
            assert ask(user=person, metric="temperature_c", **asked).status_code == 200
        for asked in ({}, {"path": "band"}, several):
            answer = ask(user=person, metric="temperature_c", **asked)
            assert (answer.status_code, answer.json()["error_code"]) == (429, "throttled")
            assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert ask().status_code == 200


@pytest.mark.parametrize(
    ("path", "seconds", "queries"),
    [
        ("series", 900, 11),
        ("series", 86400, 12),
        ("series", 86400 * 365, 13),
        ("band", 86400, 13),
        ("comparable", 900, 8),
    ],
)
def test_what_a_chart_asks_of_the_database(ask, device, path, seconds, queries):
    """Session, person, MFA, device; newest schema, metrics; touched minutes and hours; figures, patiently."""
    asked = {"seconds": seconds, "metric": "temperature_c"}
    customer = member(device.tenant)
    ask(path, customer, **asked)
    with CaptureQueriesContext(connection) as captured:
        assert ask(path, None, **asked).status_code == 200
    assert len(captured) == queries, [query["sql"][:100] for query in captured]
