"""Browsers that watch a campaign are told that it moved: once a second at most, and never in anybody's way."""

import asyncio

import pytest
from channels.layers import get_channel_layer
from django.core.cache import cache
from django.core.cache.backends.redis import RedisCache

from firmware import live


async def _told(push):
    """What the watchers of campaigns 1 and 2 hear of it."""
    layer = get_channel_layer()
    channels = [await layer.new_channel() for _ in (1, 2)]
    for pk, channel in zip((1, 2), channels, strict=True):
        await layer.group_add(live.group(pk), channel)
    await asyncio.to_thread(push)
    heard = []
    for channel in channels:
        try:
            heard.append(await asyncio.wait_for(layer.receive(channel), 1))
        except TimeoutError:
            heard.append(None)
    return heard


@pytest.fixture(autouse=True)
def _fresh_second():
    cache.clear()


def test_only_the_watchers_of_what_moved_are_told():
    heard = asyncio.run(_told(lambda: live.push([1])))
    assert heard == [{"type": "campaign.changed", "campaign": 1}, None]


def test_once_a_second_whoever_pushes():
    live.push([1, 2])
    assert asyncio.run(_told(lambda: live.push([1, 2]))) == [None, None]


def test_without_valkey_nobody_is_told_and_nothing_breaks(monkeypatch):
    monkeypatch.setattr(live, "cache", RedisCache("redis://127.0.0.1:1/0", {}))
    live.push([1])


def test_whatever_goes_wrong_ends_nobodys_work():
    async def busy():
        live.push([1])  # a loop runs in this thread: nothing can be sent from here

    asyncio.run(busy())
