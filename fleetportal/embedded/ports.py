"""Ports on 127.0.0.1: the preferred one when free, else a neighbour, and the same one again on the next run."""

import json
import socket
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from fleetportal.embedded.private_files import write_private

NEIGHBOURS = 100


_held: dict[int, socket.socket] = {}


def hold(ports: Iterable[int]) -> None:
    """Keep ports from everybody else until their server starts (`release`): seconds may lie between. Raises OSError."""
    for port in ports:
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by whoever connects. A server sets it on sockets that it opened itself, not on ours; without it the
        # body of an answer waits 40 ms for the acknowledgement of its head.
        keeper.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keeper.bind(("127.0.0.1", port))
        keeper.listen(2048)  # a port that is only bound could still be taken by a server that says SO_REUSEADDR
        _held[port] = keeper


def descriptor(port: int) -> int:
    """File descriptor of a held port's listening socket, for a server that takes it over.

    It stays held for the next start: nobody can slip in while a server loads, and who connects meanwhile waits.
    """
    return _held[port].fileno()


def release(ports: Iterable[int]) -> None:
    """Let go of ports that are held."""
    for port in ports:
        if keeper := _held.pop(port, None):
            keeper.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        # As servers do: connections of a server just stopped must not make its port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def any_free() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def choose(preferred: Mapping[str, int], memory: Path) -> dict[str, int]:
    """A free port for every name; `memory` is a JSON file with the choice of the last run, and is rewritten."""
    remembered = _read(memory)
    chosen: dict[str, int] = {}
    for name, wish in preferred.items():
        candidates = chain([remembered.get(name, wish)], range(wish, wish + NEIGHBOURS))
        taken = set(chosen.values())
        chosen[name] = next((port for port in candidates if port not in taken and is_free(port)), 0) or any_free()
    write_private(memory, json.dumps(chosen, indent=2) + "\n")
    return chosen


def take(preferred: Mapping[str, int], memory: Path, tries: int = 5) -> dict[str, int]:
    """Choose ports and hold them. Another run may be faster between the two: then others are chosen. Raises OSError."""
    for _ in range(tries - 1):
        chosen = choose(preferred, memory)
        try:
            hold(chosen.values())
        except OSError:
            release(chosen.values())
        else:
            return chosen
    chosen = choose(preferred, memory)
    hold(chosen.values())
    return chosen


def _read(memory: Path) -> dict[str, int]:
    try:
        content = dict(json.loads(memory.read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return {}
    return {str(name): port for name, port in content.items() if isinstance(port, int) and 0 < port < 65536}
