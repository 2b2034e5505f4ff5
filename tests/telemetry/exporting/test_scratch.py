import fcntl
import os
import stat
import time

import pytest

from telemetry.exporting import scratch


@pytest.fixture(autouse=True)
def root(settings, tmp_path):
    settings.WORK_DIRECTORY = tmp_path / "work"
    return settings.WORK_DIRECTORY


def aged(folder):
    folder.mkdir(parents=True)
    (folder / "half.parquet").write_bytes(b"x")
    old = time.time() - 3600
    os.utime(folder, (old, old))
    return folder


def test_it_is_empty_ours_alone_and_gone_afterwards(root):
    with scratch.folder("archive") as folder:
        assert list(folder.iterdir()) == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "day.csv").write_bytes(b"x")
    assert list(root.iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next(root):
    left, other = aged(root / "archive-x1"), aged(root / "export-x1")
    with scratch.folder("archive"):
        assert not left.exists()
        assert other.exists()


def test_a_run_that_lives_keeps_its_own(root):
    held = aged(root / "archive-x1")
    handle = os.open(held, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with scratch.folder("archive"):
        assert (held / "half.parquet").exists()
    os.close(handle)
    with scratch.folder("archive"):
        assert not held.exists()


def test_one_that_was_made_a_moment_ago_may_be_another_runs(root):
    (root / "archive-new").mkdir(parents=True)
    with scratch.folder("archive"):
        assert (root / "archive-new").exists()
