"""The store of firmware files: by digest, whole or not at all, kept once, and nothing left of what was refused."""

import errno
import hashlib
import os
import resource
import threading
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.db import connection, transaction
from django.utils import timezone

from firmware import artifacts, files
from firmware.errors import FirmwareError
from firmware.models import Artifact
from tests.firmware import fleet

pytestmark = pytest.mark.django_db
LIMIT = 10**9
NOW = timezone.now()


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    """A store of its own."""
    settings.FIRMWARE_DIRECTORY = tmp_path / "store"
    options = {"location": str(settings.FIRMWARE_DIRECTORY)}
    settings.STORAGES = settings.STORAGES | {"firmware": settings.STORAGES["firmware"] | {"OPTIONS": options}}
    return settings.FIRMWARE_DIRECTORY


def lying(folder) -> list[str]:
    """Every file in the store, those that are arriving too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(code, chunks, limit=LIMIT):
    with pytest.raises(FirmwareError) as error:
        artifacts.store(chunks, limit=limit)
    assert error.value.code == code
    return error.value


def test_a_file_lies_under_its_digest_and_comes_back_as_it_was(folder):
    data = os.urandom(300_000)
    stored = artifacts.store((data[at : at + 7001] for at in range(0, len(data), 7001)), limit=LIMIT)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.sha1 == hashlib.sha1(data).hexdigest()
    assert (stored.md5, stored.size) == (hashlib.md5(data).hexdigest(), len(data))
    assert lying(folder) == [f"{stored.sha256[:2]}/{stored.sha256}"]
    with artifacts.open_file(stored.sha256) as file:
        assert file.read() == data
        file.seek(100)
        assert file.read(5) == data[100:105]
    assert artifacts.exists(stored.sha256)


def test_the_same_file_is_kept_once(folder):
    first = artifacts.store([b"same"], limit=LIMIT)
    path = folder / files.name(first.sha256)
    inode = path.stat().st_ino
    assert artifacts.store([b"sa", b"me"], limit=LIMIT) == first
    assert (path.stat().st_ino, len(lying(folder))) == (inode, 1)


def test_a_stored_file_that_was_cut_short_is_replaced_by_the_whole_one(folder):
    stored = artifacts.store([b"whole"], limit=LIMIT)
    (folder / files.name(stored.sha256)).write_bytes(b"who")
    artifacts.store([b"whole"], limit=LIMIT)
    assert (folder / files.name(stored.sha256)).read_bytes() == b"whole"


def test_one_byte_more_than_the_limit_is_refused_and_nothing_is_left(folder):
    artifacts.store([b"1234", b"5"], limit=5)
    before = lying(folder)
    assert refused("too_large", [b"1234", b"56"], limit=5).status == 413
    assert lying(folder) == before


def endless(broken_after):
    yield b"x" * broken_after
    raise OSError(errno.EIO, "the sender is gone")


def test_nothing_is_left_when_the_sender_breaks_off(folder):
    assert refused("store_unavailable", endless(100_000)).status == 503
    assert lying(folder) == []


def test_nothing_is_left_when_the_disk_is_full(folder, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifacts.os, "fsync", full)  # where a full disk shows at the latest
    assert refused("store_unavailable", [b"x"]).status == 503
    assert lying(folder) == []


def test_nothing_is_left_when_the_system_refuses_a_write_in_the_middle(folder):
    """A real refusal: no file of this process may grow beyond 50 kB for a moment."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        error = refused("store_unavailable", (b"x" * 10_000 for _ in range(20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (error.status, error.__cause__.errno) == (503, errno.EFBIG)
    assert lying(folder) == []


def test_nothing_is_left_when_the_move_fails(folder, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FileSystemStorage, "_save", fails)
    refused("store_unavailable", [b"x"])
    assert lying(folder) == []


def test_what_arrived_and_was_not_kept_is_gone(folder):
    with artifacts.arriving([b"hello"], limit=LIMIT) as arrived:
        assert arrived.stored.size == 5
        assert len(lying(folder)) == 1
    assert lying(folder) == []


def test_any_store_of_django_will_do(settings):
    """One without a folder, as a bucket is."""
    memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = settings.STORAGES | {"firmware": memory}
    stored = artifacts.store([b"some", b"where"], limit=LIMIT)
    assert artifacts.store([b"somewhere"], limit=LIMIT) == stored
    assert artifacts.open_file(stored.sha256).read() == b"somewhere"
    assert lying(settings.FIRMWARE_DIRECTORY) == []
    assert artifacts.sweep(NOW + timedelta(days=2)) == 1
    assert not artifacts.exists(stored.sha256)


def test_a_store_that_gives_another_name_is_not_believed(folder, monkeypatch):
    usual = FileSystemStorage._save
    monkeypatch.setattr(FileSystemStorage, "_save", lambda self, name, content: usual(self, name + "_x", content))
    refused("store_unavailable", [b"x"])
    assert lying(folder) == []


def test_a_file_that_vanishes_while_it_is_looked_at_is_not_there(monkeypatch):
    monkeypatch.setattr(FileSystemStorage, "exists", lambda *_: True)
    assert files.size("0" * 64) is None


def test_a_missing_file_says_so():
    with pytest.raises(FirmwareError) as error:
        artifacts.open_file("0" * 64)
    assert (error.value.code, artifacts.exists("0" * 64)) == ("artifact_missing", False)


@pytest.mark.django_db(transaction=True)
def test_the_same_file_from_many_at_once_is_kept_once_and_whole(folder):
    data = os.urandom(200_000)
    errors = []

    def bring():
        try:
            artifacts.store([data[:100_000], data[100_000:]], limit=LIMIT)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=bring) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    digest = hashlib.sha256(data).hexdigest()
    assert lying(folder) == [files.name(digest)]
    assert (folder / files.name(digest)).read_bytes() == data


def test_a_file_with_a_row_is_never_forgotten(folder):
    release = fleet.release(data=b"in use")
    assert not artifacts.forget(release.artifact.sha256)
    assert artifacts.exists(release.artifact.sha256)
    stray = artifacts.store([b"stray"], limit=LIMIT)
    assert artifacts.forget(stray.sha256)
    assert not artifacts.forget(stray.sha256), "it is gone already"


@pytest.mark.django_db(transaction=True)
def test_who_is_about_to_write_the_row_is_waited_for(folder):
    """The sweep finds a file without a row while an upload of the same bytes is between file and row."""
    outcome = []

    def forget():
        try:
            outcome.append(artifacts.forget(hashlib.sha256(b"late").hexdigest()))
        finally:
            connection.close()

    sweeping = threading.Thread(target=forget)
    with artifacts.arriving([b"late"], limit=LIMIT) as arrived, transaction.atomic():
        arrived.keep()
        sweeping.start()
        fleet.release(data=b"late", stored=False)
        assert sweeping.is_alive() and not outcome
    sweeping.join()
    assert outcome == [False]
    assert artifacts.exists(Artifact.objects.get().sha256)


def test_the_sweep_clears_what_crashes_left_and_nothing_else(folder):
    kept = fleet.release(data=b"kept").artifact.sha256
    bill = artifacts.store([b"{}"], limit=LIMIT).sha256
    type(Artifact.objects.get().release).objects.update(sbom_sha256=bill)
    stray, fresh = (artifacts.store([data], limit=LIMIT).sha256 for data in (b"stray", b"fresh"))
    half, arriving = (folder / "incoming" / name for name in ("half", "arriving"))
    (folder / "incoming" / "gone").symlink_to("nowhere")  # as if it vanished between a look and the next
    for path in (half, arriving):
        path.write_bytes(b"x")
    (folder / "incoming" / "somebodys").mkdir()  # whoever spools here may make a folder
    os.utime(folder / "incoming" / "somebodys", (0, 0))
    old = (NOW - timedelta(days=2)).timestamp()
    for path in (half, *(folder / files.name(sha256) for sha256 in (kept, bill, stray))):
        os.utime(path, (old, old))
    assert artifacts.sweep(NOW) == 2
    assert lying(folder) == sorted(["incoming/arriving", *map(files.name, (kept, bill, fresh))])
    assert artifacts.sweep(NOW) == 0


def test_the_sweep_of_a_store_that_was_never_used_finds_nothing(folder):
    assert artifacts.sweep(NOW) == 0
    assert folder == settings.FIRMWARE_DIRECTORY
