"""`python -m tests.system_packages`: what the tests need of the system, installed where we may, else named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = {
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "chromium": "chromium",
    "openssl": "openssl",
    "softhsm2-util": "softhsm2",
    "pki": "strongswan-pki",
    "curl": "curl",
}
"""Program → Debian package."""
FILES = {
    "/usr/lib/ipsec/plugins/libstrongswan-openssl.so": "libstrongswan-standard-plugins",  # elliptic curves for `pki`
}
"""File → Debian package."""
_PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"


def missing() -> list[str]:
    """Packages whose program or file is not there."""
    programs = {package for program, package in PROGRAMS.items() if shutil.which(program, path=_PATH) is None}
    return sorted(programs | {package for file, package in FILES.items() if not Path(file).exists()})


def main() -> int:
    """Install what is missing as root on Debian; otherwise say what to install."""
    packages = missing()
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True, env=environment
        )
        packages = missing()
    if packages:
        sys.stderr.write(f"The tests need these packages of the system: {' '.join(packages)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
