from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.ordering import PLACES, Bound, bounds, place, spread, stage_of, stage_sizes

DEFAULT = (1, 5, 10, 25, 100)


@pytest.mark.parametrize(
    ("percents", "devices", "sizes"),
    [
        (DEFAULT, 1, [1, 1, 1, 1, 1]),
        (DEFAULT, 5, [1, 1, 1, 2, 5]),
        (DEFAULT, 20, [1, 1, 2, 5, 20]),
        (DEFAULT, 100, [1, 5, 10, 25, 100]),
        (DEFAULT, 101, [2, 6, 11, 26, 101]),
        (DEFAULT, 10_000, [100, 500, 1000, 2500, 10_000]),
        (DEFAULT, 0, [0, 0, 0, 0, 0]),
        ((100,), 3, [3]),
        ((50, 100), 3, [2, 3]),
    ],
)
def test_stage_sizes_are_cumulative_and_rounded_up(percents, devices, sizes):
    assert stage_sizes(percents, devices) == sizes


@pytest.mark.parametrize(
    ("percents", "devices", "expected"),
    [
        pytest.param(DEFAULT, 5, [(10, 1), (25, 2), (100, 5)], id="equal stages are merged into the later one"),
        pytest.param(DEFAULT, 1, [(100, 1)], id="one device, one stage"),
        pytest.param(DEFAULT, 0, [(100, 0)], id="no device, one stage"),
        pytest.param((10, 50), 10, [(10, 1), (50, 10)], id="the last takes all"),
        pytest.param((50, 10, 100), 10, [(10, 1), (100, 10)], id="a step back is merged"),
        pytest.param((), 10, [], id="no stages"),
    ],
)
def test_stages_end_at_a_place(percents, devices, expected):
    places = [number * 7 for number in range(devices)]
    found = bounds(percents, list(reversed(places)))
    assert [(bound.percent, bound.size) for bound in found] == expected
    for bound in found[:-1]:
        assert sum(each <= bound.upto for each in places) == bound.size
    assert all(bound.upto == PLACES - 1 for bound in found[-1:])


@given(
    percents=st.lists(st.integers(1, 100), min_size=1, max_size=8),
    places=st.lists(st.integers(0, PLACES - 1), unique=True, max_size=200),
)
def test_every_device_lies_in_exactly_one_stage_and_the_stages_grow(percents, places):
    found = bounds(percents, places)
    sizes = [bound.size for bound in found]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == len(places)
    stages = Counter(stage_of(each, [bound.upto for bound in found]) for each in places)
    assert [stages[number] for number in range(1, len(found) + 1)] == [
        size - before for before, size in zip([0, *sizes], sizes, strict=False)
    ]


@given(where=st.integers(0, PLACES - 1))
def test_a_late_device_finds_its_stage_wherever_it_lies(where):
    uptos = [10, 1000, PLACES - 1]
    assert stage_of(where, uptos) == (1 if where <= 10 else 2 if where <= 1000 else 3)


def test_a_place_is_always_the_same_and_another_in_each_campaign():
    """Written down, so that no change of the code moves the devices of a campaign that runs."""
    assert place(1, 1) == place(1, 1) == 2_357_226_713_252_887_415
    orders = [sorted(range(1000), key=lambda device, campaign=campaign: place(campaign, device)) for campaign in (1, 2)]
    assert orders[0] != orders[1]
    assert sum(a == b for a, b in zip(*orders, strict=True)) < 20


def test_places_are_spread_evenly():
    tenths = Counter(place(7, device) * 10 // PLACES for device in range(10_000))
    assert len(tenths) == 10
    assert all(850 < count < 1150 for count in tenths.values())


def test_the_first_devices_of_a_spread_campaign_are_of_as_many_sites_as_there_are():
    members = [(device, place(1, device), f"site {device % 5}") for device in range(100)]
    places = spread(members)
    ordered = sorted(places, key=places.__getitem__)
    for start in range(0, 100, 5):
        assert {device % 5 for device in ordered[start : start + 5]} == set(range(5))
    assert spread(members) == spread(reversed(members))
    assert all(0 <= where < PLACES for where in places.values())
    assert len(set(places.values())) == 100


def test_devices_without_a_site_count_as_one():
    members = [(device, device, None) for device in range(10)] + [(100, 99, "a"), (101, 100, "a")]
    places = spread(members)
    assert sorted(places, key=places.__getitem__)[:3] == [0, 100, 1]
    assert spread([]) == {}


def test_a_bound_is_a_value():
    assert Bound(1, 2, 3) == Bound(1, 2, 3)
