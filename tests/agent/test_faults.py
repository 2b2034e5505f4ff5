import pytest

from agent.faults import BadRelease, Fate, Faults, Luck
from agent.image import Header, Health

HEADER = Header("1.1.0", ["pump"])


def test_faults_are_read_from_a_line() -> None:
    assert Faults.parse("") == Faults()
    assert Faults.parse("drop=5,power_cut=2.5,skew=3600") == Faults(drop=5, power_cut=2.5, skew=3600)


@pytest.mark.parametrize("text", ["drop", "drop=", "drop=x", "drop=101", "drop=-1", "skew=-1", "earthquake=1"])
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Faults.parse(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.1.0", BadRelease("1.1.0", 100, Health.SELF_CHECK)),
        ("1.1.0:20", BadRelease("1.1.0", 20, Health.SELF_CHECK)),
        ("1.1.0:20:boot_loop", BadRelease("1.1.0", 20, Health.BOOT_LOOP)),
    ],
)
def test_a_bad_release_is_read(text: str, found: BadRelease) -> None:
    assert BadRelease.parse(text) == found


@pytest.mark.parametrize("text", ["1.1.0:x", "1.1.0:20:sad"])
def test_other_bad_releases_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        BadRelease.parse(text)


def test_a_bad_release_is_bad_on_its_share_of_devices_the_same_each_time() -> None:
    bad = (BadRelease("1.1.0", 30, Health.BOOT_LOOP),)
    found = [Luck(f"1/sim-{number}", None, bad).health(HEADER) for number in range(1000)]
    assert 250 < found.count(Health.BOOT_LOOP) < 350
    assert found == [Luck(f"1/sim-{number}", None, bad).health(HEADER) for number in range(1000)]
    assert Luck("1/sim-1", None, (BadRelease("1.2.0"),)).health(HEADER) is Health.GOOD
    assert Luck("1/sim-1", None, (BadRelease("1.1.0"),)).health(HEADER) is Health.SELF_CHECK


def test_the_same_seed_has_the_same_luck() -> None:
    faults = Faults.parse("drop=20,duplicate=20,delay=20,reorder=20,power_cut=20,slow=50,skew=60")

    def story(seed: str) -> list[object]:
        luck = Luck(seed, faults)
        return [luck.skew, luck.pace, *(luck.fate() for _ in range(50)), *(luck.cut() for _ in range(50))]

    assert story("1/sim-1") == story("1/sim-1") != story("1/sim-2")
    assert set(Fate) <= set(story("1/sim-1"))
    assert all(abs(Luck(str(number), faults).skew) <= 60 for number in range(100))
    slow = [bool(Luck(str(number), faults).pace) for number in range(1000)]
    assert 400 < sum(slow) < 600


def test_clocks_are_wrong_on_a_share_of_devices_ahead_and_behind() -> None:
    found = [Luck(f"1/sim-{number}", Faults.parse("skew=3600,skewed=20")).skew for number in range(1000)]
    assert 150 < sum(skew != 0 for skew in found) < 250
    assert min(found) < -3000
    assert max(found) > 3000
    everybody = [Luck(f"1/sim-{number}", Faults.parse("skew=3600")).skew for number in range(1000)]
    assert all(everybody)
    assert all(skew in {0, everybody[number]} for number, skew in enumerate(found))


def test_without_faults_there_is_no_bad_luck() -> None:
    luck = Luck("1/sim-1")
    assert (luck.skew, luck.pace) == (0, 0)
    assert {luck.fate() for _ in range(100)} == {Fate.SENT}
    assert not any(luck.cut() for _ in range(100))
