"""Telling the watchers of many devices in one round trip, over the real channel layer and Valkey."""

import asyncio

import pytest
from channels.layers import get_channel_layer

from devices.watching import Megaphone, group

pytestmark = pytest.mark.xdist_group("channels")


def test_the_layers_groups_hear_it_and_one_change_that_cannot_be_sent_stops_no_other():
    async def scene():
        layer = get_channel_layer()
        names = ["d-mega-1", "d-mega-3"]
        channels = {name: await layer.new_channel() for name in names}
        for name, channel in channels.items():
            await layer.group_add(group(name), channel)
        changes = {"d-mega-1": {"reading": {"ts": 1}}, "d-mega-2": {"reading": object()}, "d-mega-3": {"x": None}}
        await asyncio.to_thread(lambda: Megaphone().tell(changes))
        async with asyncio.timeout(5):
            heard = [await layer.receive(channels[name]) for name in names]
        await layer.flush()
        return heard

    assert asyncio.run(scene()) == [
        {"type": "device.changed", "device": "d-mega-1", "reading": {"ts": 1}},
        {"type": "device.changed", "device": "d-mega-3", "x": None},
    ]
