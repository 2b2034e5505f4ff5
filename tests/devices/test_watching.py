import pytest
import redis

from devices import watching
from devices.watching import WATCH_SECONDS, Watched


@pytest.fixture
def watched():
    mine = Watched()
    mine._redis.delete(watching._KEY)
    return mine


def test_what_one_process_watches_another_serves(watched):
    watched.add(["d-1", "d-2"])
    assert Watched().current() == {"d-1", "d-2"}


def test_a_watch_ends_by_itself_unless_it_is_renewed(watched, time_machine):
    time_machine.move_to("2026-03-01 12:00:00", tick=False)
    watched.add(["d-1", "d-2"])
    time_machine.shift(WATCH_SECONDS - 1)
    watched.add(["d-2"])
    assert watched.current() == {"d-1", "d-2"}
    time_machine.shift(1)
    assert watched.current() == {"d-2"}
    time_machine.shift(WATCH_SECONDS)
    assert watched.current() == set()


def test_watching_nothing_asks_nothing(watched):
    watched.add([])
    assert watched.current() == set()


def test_it_says_so_when_valkey_is_away(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(redis.RedisError):
        Watched().add(["d-1"])
    with pytest.raises(redis.RedisError):
        Watched().current()


def test_installations_on_one_server_do_not_hear_each_other(settings):
    settings.REDIS_URL = "redis://127.0.0.1:6379/1"
    one = watching.channel()
    settings.REDIS_URL = "redis://127.0.0.1:6379/2"
    assert watching.channel() != one


def test_telling_outlives_a_valkey_that_is_away(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    watching.push("d-1", {"presence": {"online": False}})
