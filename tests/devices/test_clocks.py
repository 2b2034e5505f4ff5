"""Clocks that are wrong, from the message to the finding and back."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from devices import clocks, contract, findings, ingest, registry
from devices.contract import State, Status, Topic
from devices.models import Event, Finding, Presence
from devices.registry import Incoming
from devices.skew import Clock
from telemetry import ingest as telemetry
from telemetry.models import Reading
from telemetry.models.reading import Flag
from tests.factories import DeviceFactory, SchemaFactory, StaffFactory
from tests.telemetry.messages import envelope, message

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _listening():
    """The portal has listened for an hour. Nothing was told of any clock."""
    now = timezone.now().timestamp()
    cache.set("listening", (now - 3600, now + 3600), timeout=None)
    yield
    clocks.forget_all()


@pytest.fixture
def device(days):
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    return device


def birth(device, session, late=timedelta(), *, retained=False):
    """A birth whose time is so long ago; at once after the one before."""
    milliseconds = int((timezone.now() - late).timestamp() * 1000)
    status = Status(State.ONLINE, session, f"boot-{session}", milliseconds)
    topic = Topic(device.tenant.slug, device.device_type.slug, device.device_id, contract.STATUS)
    return Incoming(str(topic), contract.encode(status), 1, retained)


def take(*births):
    with transaction.atomic():
        assert ingest.store_batch(list(births))[0] == []


def read(device, *lates):
    """Readings made so long ago, in one message."""
    readings = [envelope(ts=(timezone.now() - late).isoformat(timespec="milliseconds")) for late in lates]
    return telemetry.store_batch([message(device, *readings)])


def flags():
    return list(Reading.objects.order_by("ts").values_list("flags", flat=True))


def open_kinds():
    return sorted(Finding.objects.filter(resolved_at=None).values_list("kind", flat=True))


def known(device):
    return registry.look_up([device.device_id])[device.device_id].clock


def skew_of(device):
    return timedelta(milliseconds=Presence.objects.get(pk=device.pk).skew_ms)


def test_a_birth_keeps_how_late_it_came(device):
    take(birth(device, 1, timedelta(seconds=7)))
    assert timedelta(seconds=7) <= skew_of(device) < timedelta(seconds=20)
    assert open_kinds() == []


def test_a_birth_from_the_past_is_a_finding_and_a_right_one_ends_it(device):
    take(birth(device, 1, HOUR))
    assert (open_kinds(), known(device)) == (["clock_behind"], Clock.BEHIND)
    assert Finding.objects.get().detail == "Its clock is 1 h behind."
    take(birth(device, 2))
    assert (open_kinds(), known(device)) == ([], Clock.RIGHT)
    (resolved,) = Event.objects.filter(kind="finding.resolved")
    assert (resolved.device, resolved.detail["kind"]) == (device, "clock_behind")


def test_a_birth_from_the_future_is_a_finding_even_if_it_was_kept_back(device):
    take(birth(device, 1, -HOUR, retained=True))
    assert (open_kinds(), known(device)) == (["clock_ahead"], Clock.AHEAD)


def test_a_clock_that_was_ahead_and_is_behind_has_one_finding(device):
    take(birth(device, 1, -HOUR))
    take(birth(device, 2, HOUR))
    assert open_kinds() == ["clock_behind"]


def test_of_several_births_in_a_batch_the_last_counts(device):
    take(birth(device, 1, HOUR), birth(device, 2))
    assert (open_kinds(), known(device)) == ([], Clock.RIGHT)
    assert abs(skew_of(device)) < timedelta(seconds=30)


def test_an_old_birth_that_somebody_kept_back_says_nothing(device):
    take(birth(device, 1, HOUR, retained=True))
    now = timezone.now().timestamp()
    cache.set("listening", (now - clocks.LISTENED_SECONDS + 60, now + 3600), timeout=None)
    take(birth(device, 2, HOUR))  # the broker may have queued it: the portal was deaf a few minutes ago
    cache.delete("listening")
    take(birth(device, 3, HOUR))
    assert open_kinds() == []
    assert Presence.objects.get(pk=device.pk).skew_ms is None


def test_without_valkey_nobody_is_called_behind(device, settings):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    }
    take(birth(device, 1, HOUR))
    assert open_kinds() == []


def test_a_repeated_birth_of_an_old_session_says_nothing(device):
    take(birth(device, 2))
    take(birth(device, 1, HOUR))
    assert open_kinds() == []


def test_readings_from_the_future_are_stored_flagged_and_found_once_a_minute(device):
    read(device, -2 * HOUR, -HOUR, timedelta(0))
    read(device, -HOUR)
    assert flags() == [0, Flag.CLOCK_SUSPECT, Flag.CLOCK_SUSPECT, Flag.CLOCK_SUSPECT]
    finding = Finding.objects.get()
    assert (finding.kind, finding.device, finding.count) == ("clock_ahead", device, 1)


def test_a_reading_too_far_ahead_is_refused_and_says_by_how_much(device):
    outcome = read(device, timedelta(days=-2, hours=-3, minutes=-1))
    (refused,) = outcome.refused
    assert (refused.reason, refused.detail) == ("ts_ahead", "more than a day ahead: 2 d 3 h ahead")
    assert open_kinds() == ["clock_ahead"]


def test_a_right_reading_ends_a_finding_and_an_old_one_does_not(device):
    read(device, -HOUR)
    clocks.forget_all()  # a minute later
    read(device, HOUR)
    assert open_kinds() == ["clock_ahead"]
    read(device, timedelta())
    assert (open_kinds(), known(device)) == ([], Clock.RIGHT)


def test_readings_of_a_device_known_to_be_behind_are_flagged_until_its_clock_is_right(device):
    read(device, 2 * HOUR)
    take(birth(device, 1, HOUR))
    read(device, HOUR)
    take(birth(device, 2))
    read(device, timedelta())
    assert flags() == [0, Flag.CLOCK_SUSPECT, 0]


def test_a_device_without_a_clock_is_behind_from_its_first_birth_and_its_readings_are_refused(device):
    since = timezone.now().timestamp()
    take(birth(device, 1, timedelta(seconds=since)))
    outcome = read(device, timedelta(seconds=since))
    assert [refused.reason for refused in outcome.refused] == ["ts_old"]
    assert open_kinds() == ["clock_behind"]


def test_right_clocks_cost_nothing_and_many_wrong_ones_as_much_as_one(device):
    devices = [DeviceFactory(device_type=device.device_type) for _ in range(5)]

    def cost(devices, *lates):
        ts = [(timezone.now() - late).isoformat(timespec="milliseconds") for late in lates]
        messages = [message(each, *[envelope(ts=each_ts) for each_ts in ts]) for each in devices]
        clocks.forget_all()
        with CaptureQueriesContext(connection) as told:
            telemetry.store_batch(messages)
        return len(told)

    cost([device], timedelta())  # schemas are compiled once
    assert cost([device], timedelta()) == cost(devices, *[timedelta(seconds=n) for n in range(10)])
    assert cost([device], -HOUR) == cost(devices, -HOUR, -2 * HOUR)
    assert Finding.objects.filter(kind="clock_ahead").count() == 6


@pytest.mark.django_db(transaction=True)
def test_every_process_hears_that_a_clock_is_wrong(device):
    """The registry keeps devices in memory: a clock is no column of their row, so they are touched."""
    assert known(device) is Clock.RIGHT
    clocks.told({registry.look_up([device.device_id])[device.device_id]: HOUR})
    assert known(device) is Clock.BEHIND


def test_the_devices_page_says_how_wrong_the_clock_is(device, client):
    client.force_login(StaffFactory())
    page = reverse("admin:devices_device_change", args=[device.pk])
    assert "<dt>Clock</dt><dd>—</dd>" in client.get(page).content.decode()
    Presence.objects.update(skew_ms=-3_661_000)
    assert '<span class="badge badge-pending">1 h 1 min ahead</span>' in client.get(page).content.decode()
    Presence.objects.update(skew_ms=2_500)
    assert "<dt>Clock</dt><dd>2.5 s behind</dd>" in client.get(page).content.decode()


def test_a_finding_that_is_kept_quiet_is_not_raised(device):
    now = timezone.now()
    how = {"subject": "", "reason": "it has no battery", "until": now + timedelta(days=1), "user": StaffFactory()}
    findings.suppress("clock_ahead", device=device, now=now, **how)
    read(device, -HOUR)
    assert (open_kinds(), flags()) == ([], [Flag.CLOCK_SUSPECT])
