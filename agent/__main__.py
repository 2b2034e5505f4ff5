"""`python -m agent run|swarm`: one reference device, or a swarm of them from the portal's run file."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sqlite3
import sys
from pathlib import Path

import msgspec

from agent.identity import Broker
from agent.journal import Journal
from agent.ledger import Ledger
from agent.outbox import Outbox
from agent.swarm import Member, Settings, Swarm

logger = logging.getLogger("agent")


class Claim(msgspec.Struct, frozen=True):
    """A bootstrap credential of the run file."""

    token: str
    tenant: str
    device_type: str


class RunFile(msgspec.Struct, frozen=True):
    """Where a running portal listens; it may change from start to start."""

    device_https_url: str
    mqtt_host: str
    mqtt_port: int
    ca_file: str
    claims: list[Claim]


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. 0 after a good life, 1 if no device could enrol, 2 for bad arguments or files."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings, members = _one(options) if options.command == "run" else _many(options)
        # not asyncio.run: it would wait for handshakes with a silent broker before it returns
        return asyncio.new_event_loop().run_until_complete(_run(settings, members, options))
    except (OSError, ValueError, msgspec.MsgspecError, sqlite3.Error) as error:
        logger.error("cannot start: %s", error)
        return 2


async def _run(settings: Settings, members: list[Member], options: argparse.Namespace) -> int:
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    ledger = Ledger(options.ledger) if options.ledger else None
    journal = Journal(Outbox(settings.state / "outbox.sqlite", options.max_outbox), ledger)
    swarm = Swarm(settings, members, journal)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # not loop.add_signal_handler: it loses signals while many sockets fill the loop's wake-up pipe
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(swarm.stop))
    lived = await swarm.run()
    journal.close()
    return 0 if lived else 1


def _one(options: argparse.Namespace) -> tuple[Settings, list[Member]]:
    settings = Settings(
        options.server,
        options.ca,
        options.state,
        options.interval,
        options.seed,
        claim_certificate=options.claim_certificate,
    )
    return settings, [Member(options.hardware_id, options.device_type, options.claim)]


def _many(options: argparse.Namespace) -> tuple[Settings, list[Member]]:
    run = msgspec.json.decode(options.run_file.read_bytes(), type=RunFile)
    if not run.claims:
        raise ValueError(f"{options.run_file} names no claims")
    broker = Broker(run.mqtt_host, run.mqtt_port)
    ca_file = Path(run.ca_file)
    settings = Settings(run.device_https_url, ca_file, options.state, options.interval, options.seed, broker)
    claims = [run.claims[number % len(run.claims)] for number in range(options.count)]
    names = (f"sim-{number:05d}" for number in range(1, options.count + 1))
    return settings, [Member(name, claim.device_type, claim.token) for name, claim in zip(names, claims, strict=True)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="one device")
    run.add_argument("--server", required=True, metavar="URL", help="the portal's HTTPS address for devices")
    run.add_argument("--ca", required=True, type=Path, metavar="FILE", help="the only CA to trust, PEM")
    claim = run.add_mutually_exclusive_group(required=True)
    claim.add_argument("--claim", default="", metavar="TOKEN", help="needed for the first start only")
    claim.add_argument(
        "--claim-certificate",
        type=Path,
        metavar="FILE",
        help="instead: key, certificate and chain, PEM; needed for the first start only",
    )
    run.add_argument("--device-type", required=True)
    run.add_argument("--hardware-id", required=True, help="the maker's serial")
    run.set_defaults(interval=60.0)
    swarm = commands.add_parser("swarm", help="many devices in one process")
    swarm.add_argument("--run-file", required=True, type=Path, metavar="FILE", help="written by the portal")
    swarm.add_argument("--count", type=int, default=50)
    swarm.set_defaults(interval=2.0)
    for command in (run, swarm):
        command.add_argument("--state", required=True, type=Path, metavar="DIR", help="keys, certificates, outbox")
        command.add_argument("--interval", type=float, metavar="SECONDS", help="between readings of a device")
        command.add_argument("--seed", type=int, default=1, help="the same seed tells the same story")
        command.add_argument("--max-outbox", type=int, default=10_000, metavar="N", help="unsettled readings to keep")
        command.add_argument("--ledger", type=Path, metavar="FILE", help="append every reading made, for proofs")
        command.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)  # and so would the interpreter; everything is on disk
