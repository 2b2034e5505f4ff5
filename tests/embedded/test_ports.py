import json
import socket
import subprocess
import sys
from pathlib import Path

from fleetportal.embedded import ports
from tests.fleet import ROOT


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_takes_the_preferred_port_when_it_is_free(tmp_path: Path) -> None:
    free = ports.any_free()
    assert ports.choose({"http": free}, tmp_path / "ports.json") == {"http": free}


def test_takes_another_port_when_the_preferred_one_is_taken(tmp_path: Path) -> None:
    with _listen() as listener:
        taken = listener.getsockname()[1]
        chosen = ports.choose({"http": taken}, tmp_path / "ports.json")["http"]
        assert chosen != taken
        assert ports.is_free(chosen)


def test_remembers_the_choice_while_it_is_free(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    with _listen() as listener:
        preferred = listener.getsockname()[1]
        first = ports.choose({"http": preferred}, memory)
    assert ports.choose({"http": preferred}, memory) == first


def test_gives_no_port_twice(tmp_path: Path) -> None:
    free = ports.any_free()
    chosen = ports.choose({"one": free, "two": free}, tmp_path / "ports.json")
    assert len(set(chosen.values())) == 2


def test_a_held_port_is_nobody_elses_until_it_is_released() -> None:
    port = ports.any_free()
    ports.hold([port])
    assert not ports.is_free(port)
    ports.release([port, port])
    assert ports.is_free(port)


def test_survives_a_damaged_memory(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    for damage in ("{", json.dumps({"http": "no port"}), json.dumps([1])):
        memory.write_text(damage)
        free = ports.any_free()
        assert ports.choose({"http": free}, memory) == {"http": free}


def test_finds_a_port_free_again_right_after_its_server_stopped() -> None:
    listener = _listen()
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = listener.accept()
    listener.close()
    accepted.close()  # the side that closes first keeps the port in TIME_WAIT
    client.close()
    assert ports.is_free(port)


def test_a_held_port_can_be_handed_over_and_answers_whoever_came_early() -> None:
    port = ports.any_free()
    ports.hold([port])
    with socket.create_connection(("127.0.0.1", port)), socket.socket(fileno=ports.descriptor(port)) as server:
        accepted, _ = server.accept()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        accepted.close()
        server.detach()
    ports.release([port])


def test_two_runs_that_start_at_once_take_different_ports(tmp_path: Path) -> None:
    """Each in a process of its own, as holding is by process; all begin at the same preferred port."""
    free = ports.any_free()
    script = (
        "import sys, pathlib; from fleetportal.embedded import ports;"
        "sys.stdin.readline();"
        f"print(ports.take({{'http': {free}}}, pathlib.Path(sys.argv[1]))['http'], flush=True);"
        "sys.stdin.readline()"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / f"{number}.json")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(4)
    ]  # fmt: skip
    try:
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        taken = [int(run.stdout.readline()) for run in runs]
    finally:
        for run in runs:
            run.communicate("end\n", timeout=10)
    assert len(set(taken)) == len(runs)
