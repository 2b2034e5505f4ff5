import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from fleetportal.embedded import ports, postgres
from fleetportal.embedded.place import Place
from fleetportal.embedded.program import has_exited, running, spawn, stop
from tests.embedded.waiting import wait_for


def test_starts_durable_on_loopback_with_a_password(place: Place, logs: Path) -> None:
    port = ports.any_free()
    with running(postgres.server(place, port, "correct"), logs) as server:
        postgres.ensure_database(server.url)
        postgres.ensure_database(server.url)
        with psycopg.connect(server.url) as connection:
            shown = connection.execute(
                "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'listen_addresses', 'max_connections')"
            ).fetchall()
            assert dict(shown) == {"fsync": "on", "listen_addresses": "127.0.0.1", "max_connections": "200"}
            assert connection.execute("SELECT lower('ÄÉ')").fetchone() == ("äé",)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace("correct", "wrong"))
    assert not postgres.answers(server.url)


def test_data_survives_a_kill_and_a_restart(place: Place, logs: Path) -> None:
    port = ports.any_free()
    server = postgres.server(place, port, "secret")
    process = spawn(server, logs)
    wait_for(server.ready)
    postgres.ensure_database(server.url)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept ()")
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: has_exited(process))
    with running(postgres.server(place, port, "secret"), logs), psycopg.connect(server.url) as connection:
        connection.execute("SELECT FROM kept")


def test_a_server_left_by_a_killed_run_is_replaced(place: Place, logs: Path) -> None:
    orphan = postgres.server(place, ports.any_free(), "secret")
    process = spawn(orphan, logs)
    wait_for(orphan.ready)
    with running(postgres.server(place, ports.any_free(), "secret"), logs) as server:
        assert server.ready()
        wait_for(lambda: has_exited(process))


def test_a_lock_file_naming_a_stranger_is_forgotten(place: Place, logs: Path) -> None:
    server = postgres.server(place, ports.any_free(), "secret")
    lock = place.servers / "postgres" / "data" / "postmaster.pid"
    # The parent of this process surely runs, and is no PostgreSQL of ours.
    lock.write_text(f"{os.getppid()}\n{lock.parent}\n")
    with running(server, logs):
        assert server.ready()


def test_data_of_another_major_version_is_refused(place: Place, logs: Path) -> None:
    postgres.server(place, ports.any_free(), "secret")
    (place.servers / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(RuntimeError, match="written by PostgreSQL 9"):
        postgres.server(place, ports.any_free(), "secret")


def test_password_is_not_among_the_arguments(place: Place, logs: Path) -> None:
    server = postgres.server(place, ports.any_free(), "secret-word")
    assert "secret-word" not in " ".join(server.argv)
    assert urlsplit(server.url).password == "secret-word"
    process = spawn(server, logs)
    stop([(server, process)])
