"""`python -m fleetportal.embedded`: a live fleet with one command."""

import argparse
import sys
from pathlib import Path

from fleetportal.embedded.demo import Options
from fleetportal.embedded.portal import ROOT
from fleetportal.embedded.run import run


def main() -> int:
    """Parse the arguments and run until stopped. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fleetportal.embedded", description=__doc__)
    parser.add_argument("--swarm", type=int, default=50, metavar="N", help="simulated devices (default: 50)")
    parser.add_argument("--no-swarm", dest="swarm", action="store_const", const=0, help="no simulated devices")
    parser.add_argument(
        "--bad-release",
        action="append",
        default=[],
        metavar="VERSION[:PERCENT[:boot_loop|self_check]]",
        help="firmware that fails on so many of the simulated devices; repeatable",
    )
    parser.add_argument(
        "--faults", default="", metavar="LIST", help="faults of the devices: `python -m agent swarm -h`"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="MQTT workers (default: 1)")
    parser.add_argument("--var", type=Path, default=ROOT / "var", metavar="DIR", help="where all data lives")
    chosen = parser.parse_args()
    swarm = [f"--bad-release={each}" for each in chosen.bad_release]
    swarm += [f"--faults={chosen.faults}"] if chosen.faults else []
    return run(Options(chosen.var, chosen.swarm, chosen.workers, tuple(swarm)))


if __name__ == "__main__":
    sys.exit(main())
