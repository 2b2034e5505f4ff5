"""`python -m benchmarks`: all of them, one after the other."""

import subprocess
import sys

NAMES = ["start", "rollout", "ingest", "ingest_tls", "live", "connect", "years", "pages", "storage", "flood"]


def main(chosen: list[str]) -> int:
    """Run the chosen ones, or all. Returns the worst exit code."""
    runs = [subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False) for name in chosen or NAMES]
    return max(run.returncode for run in runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
