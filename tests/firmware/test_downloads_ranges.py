"""Which bytes a request gets (RFC 9110, 13 and 14)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware import ranges
from firmware.ranges import Reply

TAG, SIZE = '"abc"', 1000
WHOLE = Reply(200, 0, SIZE)


def ask(method="GET", size=SIZE, **headers):
    return ranges.reply(method, {name.replace("_", "-"): text for name, text in headers.items()}, size, TAG)


@pytest.mark.parametrize(
    ("asked", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-999", 0, 1000),
        ("bytes=0-", 0, 1000),
        ("bytes=999-", 999, 1),
        ("bytes=500-5000", 500, 500),
        ("bytes=500-999999999999999999", 500, 500),
        ("bytes=-1", 999, 1),
        ("bytes=-1000", 0, 1000),
        ("bytes=-5000", 0, 1000),
        ("Bytes= 1-2 ", 1, 2),
    ],
)
def test_one_range_is_served(asked, start, length):
    assert ask(Range=asked) == Reply(206, start, length)


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=1000-2000", "bytes=-0"])
def test_a_range_outside_the_file_is_told_its_size(asked):
    answer = ask(Range=asked)
    assert (answer.status, ranges.content_range(answer, SIZE)) == (416, "bytes */1000")


@pytest.mark.parametrize(
    "asked",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=0-1,5-6", "bytes=0-0, -1", "items=0-1",
        "bytes=--1", "bytes=1-2-3", "bytes=0x1-2", "bytes=١-٢", "bytes=" + "9" * 5000 + "-", "bytes=1.5-2", "0-1",
    ],
)  # fmt: skip
def test_what_is_no_single_range_gets_the_whole_file(asked):
    assert ask(Range=asked) == WHOLE


def test_a_head_has_no_ranges():
    assert ask("HEAD", Range="bytes=0-0") == WHOLE


def test_a_range_is_conditional_on_the_same_file():
    for same, status in ((TAG, 206), (f" {TAG} ", 206), ('"other"', 200), (f"W/{TAG}", 200)):
        assert ask(Range="bytes=0-9", If_Range=same).status == status
    assert ask(Range="bytes=0-9", If_Range="Sat, 21 Nov 2026 10:00:00 GMT") == WHOLE
    assert ask(Range="bytes=9999-", If_Range='"other"') == WHOLE


def test_preconditions_come_first():
    for wanted in (TAG, "*", f'"x", {TAG}'):
        assert ask(If_Match=wanted, Range="bytes=0-9").status == 206
    for other in ('"x"', f"W/{TAG}", ""):
        assert ask(If_Match=other, Range="bytes=9999-").status == 412
    for known in (TAG, "*", f"W/{TAG}", f'"x",{TAG}'):
        assert ask(If_None_Match=known).status == 304
    assert ask(If_None_Match='"x"') == WHOLE
    assert ask(If_Match='"x"', If_None_Match=TAG).status == 412


def test_nothing_of_an_empty_file_can_be_asked_for():
    assert ask(size=0) == Reply(200, 0, 0)
    assert ask(size=0, Range="bytes=0-").status == ask(size=0, Range="bytes=-5").status == 416


@given(st.text(max_size=40), st.integers(0, 5000))
def test_no_header_leads_outside_the_file(text, size):
    for asked in (text, f"bytes={text}"):
        answer = ask(size=size, Range=asked)
        assert answer.status in (200, 206, 416)
        assert answer.start >= 0 and answer.start + answer.length <= size
        assert answer.length or answer.status == 416 or not size


@given(st.integers(1, 5000), st.data())
def test_parts_put_together_are_the_whole(size, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=5))) if size > 1 else []
    edges = [0, *cuts, size]
    parts = [ask(size=size, Range=f"bytes={a}-{b - 1}") for a, b in pairwise(edges)]
    assert [part.start for part in parts] == edges[:-1]
    assert sum(part.length for part in parts) == size
