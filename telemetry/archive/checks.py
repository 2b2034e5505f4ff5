"""Is every file of the archive still what it was when its day was dropped?"""

from telemetry.archive import files
from telemetry.archive import reading as archive_reading
from telemetry.archive.files import ArchiveError
from telemetry.exporting import parquet, scratch
from telemetry.models import ArchivedDay


def mistake(part: ArchivedDay, *, deep: bool = False) -> str:
    """What is wrong with a part, with its path; empty when it is whole.

    Every byte is read from the storage and held against the row and the manifest. `deep` also reads every reading, as
    was done before the day was dropped. Raises what a remote storage raises, django.db.Error.
    """
    try:
        manifest = files.read_manifest(part.path)
        found = files.file_digest(part.path)
        if not found == part.file_digest == manifest.file_digest:
            return f"{part.path}: its bytes changed: {found}, not {part.file_digest} (manifest: {manifest.file_digest})"
        if (manifest.digest, manifest.rows) != (part.digest, part.rows):
            return f"{files.manifest_path(part.path)}: says otherwise than the database of its readings"
        if deep:
            with scratch.folder("verify") as folder:
                copy = folder / "part.parquet"
                files.fetch(part.path, copy)
                if archive_reading.read(copy, manifest.width).digest != part.digest:
                    return f"{part.path}: its readings are not those that were dropped"
    except (ArchiveError, parquet.ParquetError, OSError) as error:
        return str(error)
    return ""
