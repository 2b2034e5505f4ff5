"""Finding Mosquitto, or fetching it: there is no wheel. Without root, Debian's packages are unpacked beside us."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetportal.embedded.place import Place

WHERE = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
STATUS = Path("/var/lib/dpkg/status")
BINARY = "usr/sbin/mosquitto"
HINT = "install the package 'mosquitto' (version 2), or set MQTT_URL to use a broker of your own."


@dataclass(frozen=True)
class Installed:
    """The broker's binary and the environment it needs."""

    binary: Path
    env: dict[str, str] = field(default_factory=dict)


def find(place: Place, search: str = WHERE) -> Installed | None:
    """Mosquitto of this machine (on the `search` path), or as fetched before."""
    if found := shutil.which("mosquitto", path=search):
        return Installed(Path(found))
    unpacked = _unpacked(place)
    if not (unpacked / BINARY).exists():
        return None
    libraries = sorted({str(path.parent) for path in unpacked.rglob("lib*.so*")})
    return Installed(unpacked / BINARY, {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {})


def find_or_fetch(place: Place, search: str = WHERE) -> Installed:
    """Mosquitto, fetched if need be. Raises RuntimeError, saying what to do, when that fails."""
    if found := find(place, search):
        return found
    try:
        if os.geteuid() == 0:
            _install()
        else:
            _unpack(_unpacked(place))
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", error)).strip().splitlines()[-1:]
        raise RuntimeError(f"Mosquitto is missing, and fetching it failed {reason}: {HINT}") from error
    if found := find(place, search):
        return found
    raise RuntimeError(f"Mosquitto is missing, although its package was fetched: {HINT}")


def _unpacked(place: Place) -> Path:
    return place.servers / "packages" / "mosquitto"


def _install() -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update"], env=env)
    _run(["apt-get", "install", "-y", "--no-install-recommends", "mosquitto"], env=env)


def _unpack(target: Path) -> None:
    """Fetch exactly the packages this machine lacks, with package lists of our own, and unpack them into `target`."""
    work = target.with_name("apt")
    for folder in "state/lists/partial", "cache/archives/partial", "debs":
        (work / folder).mkdir(parents=True, exist_ok=True)
    apt = [
        "apt-get",
        f"-oDir::State={work}/state",
        f"-oDir::State::lists={work}/state/lists",
        f"-oDir::Cache={work}/cache",
        f"-oDir::State::status={STATUS}",
        "-oDebug::NoLocking=1",
    ]
    _run([*apt, "update"])
    install = ["install", "--reinstall", "--no-install-recommends", "mosquitto"]
    listing = _run([*apt, *install, "--print-uris", "-qq", "-y"])
    # One line a package: 'uri' name_version_architecture.deb size hash
    packages = [line.split()[1].split("_")[0] for line in listing.splitlines() if line.startswith("'")]
    _run([*apt, "download", *packages], cwd=work / "debs")
    half = target.with_name("unfinished")
    shutil.rmtree(half, ignore_errors=True)
    for package in sorted((work / "debs").glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(half)])
    half.rename(target)
    shutil.rmtree(work)


def _run(argv: Sequence[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    return subprocess.run(argv, cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout
