"""What the real broker delivers and to whom. A denied publish is still acknowledged, so nothing else would prove it."""

import uuid

import pytest
from django.conf import settings

from devices.contract import CHANNELS, Direction, control_filters, device_filters, telemetry_filters
from tests.devices import peers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ca", "mosquitto_server")]

FROM_DEVICE = [c.name for c in CHANNELS.values() if c.direction is Direction.FROM_DEVICE]
TO_DEVICE = [c.name for c in CHANNELS.values() if c.direction is Direction.TO_DEVICE]
BY_GATEWAY = [c.name for c in CHANNELS.values() if c.child]
EVERYTHING = ("#", "/+/+/+/telemetry", "/+/+/+/#", "+/#", "$SYS/#", "$aws/#", "$share/guess//+/+/+/telemetry")


@pytest.fixture
def mine(tmp_path):
    return peers.enrolled(tmp_path)


@pytest.fixture
def other(tmp_path):
    return peers.enrolled(tmp_path)


def sentinel():
    return uuid.uuid4().hex.encode()


def all_topics(identity):
    """Every topic of a device: each channel, each of a child's, its shadow."""
    return [
        *(identity.topic(name) for name in CHANNELS),
        *(identity.topic(name, "c-1") for name in BY_GATEWAY),
        f"$aws/things/{identity.device_id}/shadow/update",
    ]


@pytest.mark.parametrize("channel", FROM_DEVICE)
def test_what_a_device_says_on_its_own_channel_reaches_the_portal(mine, channel):
    with peers.portal("#") as portal, peers.device(mine) as device:
        word = sentinel()
        device.publish(mine.topic(channel), word)
        portal.got(mine.topic(channel), word)


@pytest.mark.parametrize("channel", BY_GATEWAY)
def test_what_a_gateway_says_for_a_child_reaches_the_portal(mine, channel):
    with peers.portal("#") as portal, peers.device(mine) as device:
        word = sentinel()
        device.publish(mine.topic(channel, "c-1"), word)
        portal.got(mine.topic(channel, "c-1"), word)


def test_the_portals_own_subscriptions_get_every_channel_once(mine):
    filters = [*control_filters(), *telemetry_filters(settings.MQTT_INGEST_GROUP)]
    with peers.portal(*filters) as portal, peers.device(mine) as device:
        topics = [*map(mine.topic, FROM_DEVICE), *(mine.topic(name, "c-1") for name in BY_GATEWAY)]
        for topic in topics:
            device.publish(topic)
        last = f"$aws/things/{mine.device_id}/shadow/get"
        device.publish(last, word := sentinel())
        portal.got(last, word)
        assert sorted(topic for topic, _ in portal.received if topic != last) == sorted(topics)


def test_what_a_device_says_on_anothers_topic_reaches_nobody(mine, other):
    with peers.portal("#", "$aws/#") as portal, peers.device(mine) as device, peers.device(other) as victim:
        victim.subscribe(*device_filters(other.tenant, other.device_type, other.device_id))
        for topic in [*all_topics(other), "$SYS/broker/uptime", "anything", f"/{mine.device_id}/telemetry"]:
            device.publish(topic, b"forged")
        device.publish(mine.topic("event"), word := sentinel())
        portal.got(mine.topic("event"), word)
        portal.publish(other.topic("cmd"), word)
        victim.got(other.topic("cmd"), word)
        assert b"forged" not in {payload for _, payload in portal.received + victim.received}


def test_a_device_cannot_say_what_only_the_portal_says(mine):
    """Not even to itself: no forged answer, command or offer on the portal's channels."""
    with peers.portal("#") as portal, peers.device(mine) as device:
        for channel in TO_DEVICE:
            device.publish(mine.topic(channel), b"forged")
        device.publish(mine.topic("event"), word := sentinel())
        portal.got(mine.topic("event"), word)
        assert portal.topics() & set(map(mine.topic, TO_DEVICE)) == set()


@pytest.mark.parametrize("channel", TO_DEVICE)
def test_what_the_portal_tells_a_device_reaches_it(mine, channel):
    with peers.portal() as portal, peers.device(mine) as device:
        device.subscribe(*device_filters(mine.tenant, mine.device_type, mine.device_id))
        word = sentinel()
        portal.publish(mine.topic(channel), word)
        device.got(mine.topic(channel), word)


@pytest.mark.parametrize("filters", [[each] for each in EVERYTHING] + [[*EVERYTHING]], ids=str)
def test_nothing_of_others_is_delivered_whatever_a_device_subscribes_to(mine, other, filters):
    with peers.portal() as portal, peers.device(mine) as spy, peers.device(other) as device:
        device.publish(other.topic("status"), b"kept", retain=True)
        spy.subscribe(*filters, *all_topics(other), mine.topic("cmd"))
        for topic in all_topics(other):
            device.publish(topic)
            portal.publish(topic)
        portal.publish(mine.topic("cmd"), word := sentinel())
        spy.got(mine.topic("cmd"), word)
        portal.publish(other.topic("status"), b"", retain=True)
        assert spy.topics() == {mine.topic("cmd")}


def test_a_device_that_joins_the_shared_group_by_guess_takes_nothing_from_the_portal(mine, other):
    member = telemetry_filters(settings.MQTT_INGEST_GROUP)
    with peers.portal(*member) as portal, peers.device(mine) as thief, peers.device(other) as device:
        thief.subscribe(*telemetry_filters("portal"), *telemetry_filters("guess"), mine.topic("cmd"))
        words = [sentinel() for _ in range(20)]
        for word in words:
            device.publish(other.topic("telemetry"), word)
        portal.publish(mine.topic("cmd"), last := sentinel())
        thief.got(mine.topic("cmd"), last)
        portal.got(other.topic("telemetry"), words[-1])
        assert [payload for _, payload in portal.received] == words
        assert thief.topics() == {mine.topic("cmd")}


def test_a_client_id_cannot_be_chosen(mine, other):
    """Else a device could end anybody's session by taking its name: another device's or the portal's own."""
    with (
        peers.portal(mine.topic("event"), client_id="portal-control") as portal,
        peers.device(mine) as victim,
        peers.device(other, client_id=mine.device_id),
        peers.device(other, client_id="portal-control") as device,
    ):
        victim.publish(mine.topic("event"), word := sentinel())
        portal.got(mine.topic("event"), word)
        assert (victim.ended, portal.ended, device.ended) == (False, False, False)


def test_an_unknown_tenant_or_type_in_ones_own_topic_is_left_to_the_portal_to_refuse(mine):
    """The ACL knows only the device id; telemetry and devices refuse such a message as topic_mismatch."""
    with peers.portal("#") as portal, peers.device(mine) as device:
        device.publish(f"/other/kind/{mine.device_id}/telemetry", word := sentinel())
        portal.got(f"/other/kind/{mine.device_id}/telemetry", word)
