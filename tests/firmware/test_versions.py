import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.versions import MAX_LENGTH, Version, VersionError, is_older, is_version

IN_ORDER = [
    "0.0.0", "0.0.1-0", "0.0.1", "0.1.0", "0.10.0", "1.0.0-0", "1.0.0-2", "1.0.0-10",
    "1.0.0-20261121120000", "1.0.0--", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0",
    "99999999999999999999.0.0",
]  # fmt: skip


@pytest.mark.parametrize(("older", "newer"), list(itertools.pairwise(IN_ORDER)))
def test_the_precedence_of_semver(older, newer):
    assert Version(older) < Version(newer)
    assert Version(newer) > Version(older)
    assert Version(older) != Version(newer)
    assert is_older(older, newer)
    assert not is_older(newer, older)


def test_versions_sort():
    shuffled = random.Random(1).sample(IN_ORDER, len(IN_ORDER))
    assert sorted(shuffled, key=Version) == IN_ORDER
    assert str(max(map(Version, shuffled))) == IN_ORDER[-1]


@pytest.mark.parametrize("other", ["1.0.0+1", "1.0.0+build.5", "1.0.0+0.0-a"])
def test_build_metadata_does_not_count(other):
    assert Version(other) == Version("1.0.0")
    assert hash(Version(other)) == hash(Version("1.0.0"))
    assert Version(other) <= Version("1.0.0")
    assert not is_older(other, "1.0.0")


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.02.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+", "1.2.3+a+b",
     "1.2.3 ", "1.2.3\n", " 1.2.3", "1.2.-3", "1.2.x", "١.٢.٣", "1.2.3-ä", "1.2.3-rc_1", "1.2.3-" + "a" * MAX_LENGTH],
)  # fmt: skip
def test_what_is_no_semantic_version_is_refused(text):
    assert not is_version(text)
    with pytest.raises(VersionError, match="is not a semantic version"):
        Version(text)


@pytest.mark.parametrize(
    ("text", "than", "older"),
    [
        ("factory", "1.0.0", True),
        ("", "1.0.0", True),
        ("1.0.0", "factory", False),
        ("factory", "factory", False),
        ("1.0.0", "1.0.0", False),
    ],
)
def test_an_unknown_version_is_older_than_every_known_one(text, than, older):
    assert is_older(text, than) is older


def test_a_version_is_compared_with_versions_only():
    assert Version("1.0.0") != "1.0.0"
    with pytest.raises(TypeError):
        Version("1.0.0") < "1.0.0"  # noqa: B015 - it raises


@given(st.text(max_size=80))
def test_any_text_is_a_version_or_is_refused(text):
    try:
        version = Version(text)
    except VersionError:
        assert not is_version(text)
    else:
        assert is_version(text)
        assert str(version) == text


@given(*[st.tuples(*[st.integers(0, 10**9)] * 3)] * 2)
def test_numbers_are_compared_as_numbers(one, other):
    texts = [".".join(map(str, each)) for each in (one, other)]
    assert is_older(*texts) is (one < other)
