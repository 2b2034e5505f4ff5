"""What may be said after `python -m agent`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.faults import BadRelease, Faults
from agent.image import Health
from firmware.versions import is_version

WHAT = "`python -m agent run|swarm|image`: a reference device, a swarm of them from the portal's run file, or an image."
IMAGE = "Prints the manifest of the image, the line that has to be signed."
FAULTS = """faults, NAME=PERCENT,…, repeatable by --seed. Of reports: drop (the line breaks first), duplicate, delay (up
to 10 s), reorder (after the next). Of the steps of an update: power_cut. Of devices: slow (8 to 64 KB/s). And
skew=SECONDS: clocks are wrong by up to that, either way, on all devices or on skewed=PERCENT of them. Example:
drop=5,duplicate=5,delay=5,power_cut=2,slow=10,skew=3600,skewed=20"""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m agent", description=WHAT)
    commands = found.add_subparsers(dest="command", required=True)
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
        command.add_argument(
            "--firmware-key",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="public key, PEM, that may sign firmware; repeatable. Without any, every image is refused",
        )
        command.add_argument(
            "--permit-key", type=Path, metavar="FILE", help="public key, PEM, by which the portal permits a way back"
        )
        command.add_argument(
            "--bad-release",
            type=_word(BadRelease.parse),
            action="append",
            default=[],
            metavar="VERSION[:PERCENT[:boot_loop|self_check]]",
            help="this version does not come up, or finds itself broken, on so many devices; repeatable",
        )
        command.add_argument("--faults", type=_word(Faults.parse), default=Faults(), metavar="LIST", help=FAULTS)
    image = commands.add_parser("image", help="make a firmware image", description=IMAGE)
    image.set_defaults(log_level="INFO")
    image.add_argument("--version", required=True, type=_word(_version))
    image.add_argument("--device-type", required=True, action="append", help="hardware it is for; repeatable")
    image.add_argument("--health", type=Health, default=Health.GOOD, help=", ".join(Health))
    image.add_argument("--size", type=int, default=64 * 1024, metavar="BYTES")
    image.add_argument("file", type=Path, metavar="FILE")
    return found


def _word(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Errors as argparse wants them, with what they say."""

    def checked(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _version(text: str) -> str:
    if not is_version(text):
        raise ValueError(f"{text!r} is not a semantic version")
    return text
