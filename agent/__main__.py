"""`python -m agent run|swarm|image`: a reference device, a swarm of them from the portal's run file, or an image."""

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

from agent import image
from agent.command_line import parser
from agent.identity import Broker
from agent.image import Header
from agent.journal import Journal
from agent.ledger import Ledger
from agent.outbox import Outbox
from agent.swarm import Member, Settings, Swarm
from agent.update_state import Timing
from firmware.signing import PublicKey, manifest, read_public_key

logger = logging.getLogger("agent")

SIMULATED = Timing(self_check=2.0, jitter_share=0.05)
"""A swarm is in a hurry: nobody wants to watch five minutes of jitter."""


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
    firmware_keys: list[str] = []
    """Public keys that may sign firmware, PEM."""
    permit_key: str = ""
    """The portal's own, with which it permits a way back."""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. 0 after a good life, 1 if no device could enrol, 2 for bad arguments or files."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        if options.command == "image":
            return _image(options)
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


def _image(options: argparse.Namespace) -> int:
    image.write(options.file, Header(options.version, options.device_type, options.health), options.size)
    sys.stdout.write(manifest(image.sha256(options.file), options.file.name).decode())
    return 0


def _keys(options: argparse.Namespace, named: list[str]) -> dict[str, PublicKey]:
    keys = [read_public_key(pem) for pem in (*named, *(file.read_bytes() for file in options.firmware_key))]
    return {key.fingerprint: key for key in keys}


def _permit_key(options: argparse.Namespace, named: str) -> PublicKey | None:
    pem = options.permit_key.read_bytes() if options.permit_key else named
    return read_public_key(pem) if pem else None


def _one(options: argparse.Namespace) -> tuple[Settings, list[Member]]:
    settings = Settings(
        options.server,
        options.ca,
        options.state,
        options.interval,
        options.seed,
        claim_certificate=options.claim_certificate,
        firmware_keys=_keys(options, []),
        permit_key=_permit_key(options, ""),
        faults=options.faults,
        bad_releases=tuple(options.bad_release),
    )
    return settings, [Member(options.hardware_id, options.device_type, options.claim)]


def _many(options: argparse.Namespace) -> tuple[Settings, list[Member]]:
    run = msgspec.json.decode(options.run_file.read_bytes(), type=RunFile)
    if not run.claims:
        raise ValueError(f"{options.run_file} names no claims")
    broker = Broker(run.mqtt_host, run.mqtt_port)
    ca_file = Path(run.ca_file)
    settings = Settings(
        run.device_https_url,
        ca_file,
        options.state,
        options.interval,
        options.seed,
        broker,
        firmware_keys=_keys(options, run.firmware_keys),
        permit_key=_permit_key(options, run.permit_key),
        timing=SIMULATED,
        faults=options.faults,
        bad_releases=tuple(options.bad_release),
    )
    claims = [run.claims[number % len(run.claims)] for number in range(options.count)]
    names = (f"sim-{number:05d}" for number in range(1, options.count + 1))
    return settings, [Member(name, claim.device_type, claim.token) for name, claim in zip(names, claims, strict=True)]


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # and so would the interpreter; everything is on disk
