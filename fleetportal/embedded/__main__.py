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
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="MQTT workers (default: 1)")
    parser.add_argument("--var", type=Path, default=ROOT / "var", metavar="DIR", help="where all data lives")
    chosen = parser.parse_args()
    return run(Options(chosen.var, chosen.swarm, chosen.workers))


if __name__ == "__main__":
    sys.exit(main())
