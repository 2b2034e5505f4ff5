import os
import stat
import subprocess
from pathlib import Path

import pytest

from fleetportal.embedded import place as places
from fleetportal.embedded.place import Account, Place

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as somebody else")


def _reads(account: Account, path: Path) -> bool:
    done = subprocess.run(["/bin/cat", str(path)], user=account.uid, group=account.gid, extra_groups=[], check=False)
    return done.returncode == 0


@as_root
def test_root_gives_servers_another_user(place: Place) -> None:
    assert place.account is not None
    assert place.server_folder("postgres").stat().st_uid == place.account.uid


@as_root
def test_shared_files_are_read_by_the_servers_user_and_nobody_else(place: Place) -> None:
    account = place.account
    assert account is not None
    path = place.shared_folder("broker") / "server.key"
    path.touch(mode=0o640)
    assert _reads(account, path)
    assert not _reads(Account("stranger", account.uid - 1, account.gid - 1), path)


@as_root
def test_a_folder_the_servers_user_cannot_enter_is_left_alone(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    found = places.find(closed / "var")
    try:
        assert found.account is not None
        assert found.servers.is_relative_to(places.OUTSIDE)
        assert found.account.can_enter(found.servers)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert places.find(closed / "var") == found
    finally:
        found.servers.rmdir()


@as_root
def test_binaries_out_of_reach_are_copied_with_their_libraries(place: Place, tmp_path: Path) -> None:
    account = place.account
    assert account is not None
    closed = tmp_path / "site-packages"
    (closed / "wheel" / "bin").mkdir(parents=True, mode=0o700)
    closed.chmod(0o700)
    (closed / "wheel" / "bin" / "program").write_text("program")
    (closed / "wheel.libs").mkdir()
    (closed / "wheel.libs" / "library.so").write_text("library")
    binary = place.executable(closed / "wheel", "bin/program")
    assert _reads(account, binary)
    assert _reads(account, binary.parents[2] / "wheel.libs" / "library.so")
    assert place.executable(closed / "wheel", "bin/program") == binary


def test_binaries_within_reach_are_used_where_they_are(place: Place) -> None:
    assert place.executable(Path("/usr"), "bin/env") == Path("/usr/bin/env")


def test_own_folders_are_closed(place: Place) -> None:
    assert stat.S_IMODE(place.own_folder("ca").stat().st_mode) == 0o700
