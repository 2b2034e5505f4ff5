"""The archive where storages are remote, or files not what they were."""

import duckdb
import msgspec
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from telemetry.archive import archives, checks, queries, restores
from telemetry.archive import files as archive_files
from telemetry.archive.files import ArchiveError
from telemetry.models import ArchivedDay
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.archiving import fill, overwrite, own_storage
from tests.telemetry.days import NOW, OLD, all_of


@pytest.fixture(autouse=True)
def archive(settings, tmp_path):
    return own_storage(settings, tmp_path)


@pytest.fixture
def device(db):
    return DeviceFactory(device_type=SchemaFactory().device_type)


class Remote(Storage):
    """Has no paths, as object stores have none."""

    def __init__(self):
        self.objects = {}

    def _save(self, name, content):
        self.objects[name] = content.read()
        return name

    def _open(self, name, mode):
        if name not in self.objects:
            raise FileNotFoundError(name)
        return ContentFile(self.objects[name])

    def exists(self, name):
        return name in self.objects

    def delete(self, name):
        self.objects.pop(name, None)


class TestARemoteStorage:
    @pytest.fixture(autouse=True)
    def remote(self, archive, settings):
        settings.STORAGES = settings.STORAGES | {"archive": {"BACKEND": f"{__name__}.Remote"}}

    def test_archives_answers_restores_and_verifies(self, device):
        fill(device)
        before = all_of(OLD)
        assert archives.archive_due(NOW) == [OLD]
        with queries.opened(None, None, device=device.device_id) as readings:
            assert readings.execute("SELECT count(*), min(temperature_c) FROM readings").fetchall() == [(3, 4.5)]
        assert checks.mistake(ArchivedDay.objects.get(), deep=True) == ""
        restores.restore(OLD, NOW)
        assert all_of(OLD) == before

    def test_a_file_that_is_gone_is_told_with_its_path(self, device):
        fill(device)
        archives.archive_due(NOW)
        part = ArchivedDay.objects.get()
        storages["archive"].delete(part.path)
        told = f"{part.path}: missing from the archive"
        assert checks.mistake(part) == told
        with pytest.raises(ArchiveError, match=told):
            restores.restore(OLD, NOW)


def test_readings_that_are_not_those_dropped_are_found_by_a_deep_look(device, archive):
    fill(device)
    archives.archive_due(NOW)
    part = ArchivedDay.objects.get()
    file, other = archive / part.path, archive / "other.parquet"
    duckdb.sql(f"COPY (SELECT * REPLACE (m1 + 1e-15 AS m1) FROM '{file}') TO '{other}' (FORMAT parquet)")
    overwrite(file, other.read_bytes())
    digest = archive_files.file_digest(part.path)
    ArchivedDay.objects.update(file_digest=digest)
    manifest = archive_files.read_manifest(part.path)
    archive_files.write_manifest(msgspec.structs.replace(manifest, file_digest=digest))
    part.refresh_from_db()
    assert checks.mistake(part) == ""
    assert checks.mistake(part, deep=True) == f"{part.path}: its readings are not those that were dropped"
