"""Records as one file: from a machine without version control or network to where the study is kept."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from xtcq.files import whole_file, write_atomically
from xtcq.study.records import Record, RecordError, load_record, records_folder


def export_records(records: Iterable[Record], archive: Path) -> int:
    """Write Records into a zip archive, under a temporary name that is then renamed.

    Args:
        records: any.
        archive: the file to write.

    Returns:
        Their number.

    Raises:
        OSError: if it cannot be written; an earlier file is then still whole.
    """
    with whole_file(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for record in records:
            file.writestr(f"{record.digest}.json", record.to_json())
        return len(file.namelist())


def read_archive(archive: Path) -> list[Record]:
    """Read and check the Records of an archive.

    Args:
        archive: that `export_records` wrote.

    Returns:
        All of them, in their order there.

    Raises:
        RecordError: if the archive is damaged or cut off, holds something else than Records, or one that does not match
            its digests or is of another schema.
        FileNotFoundError: if there is no such file.
    """
    try:
        with zipfile.ZipFile(archive) as file, tempfile.TemporaryDirectory() as folder:
            names = file.namelist()
            if wrong := [name for name in names if name != Path(name).name or not name.endswith(".json")]:
                raise RecordError(f"{archive} holds {wrong[0]!r}, which is no Record: export it again")
            paths = [Path(file.extract(name, folder)) for name in names]
            try:
                return [load_record(path) for path in paths]
            except RecordError as error:
                found = str(error).replace(f"{folder}/", f"{archive}: ").partition(" Delete ")[0]
                raise RecordError(f"{found} Export it again where it was made.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise RecordError(f"{archive} is damaged or cut off ({error}): copy or export it again") from error


def import_records(archive: Path) -> tuple[list[Record], list[Record]]:
    """Add the Records of an archive to those that are here; all are checked before the first is written.

    Args:
        archive: that `export_records` wrote.

    Returns:
        Those that are new, and those that were here already and stay as they were, be they equal or not.

    Raises:
        RecordError, FileNotFoundError: as for `read_archive`; nothing was written then.
    """
    new, known = [], []
    for record in read_archive(archive):
        path = records_folder(record.experiment.spec.synthetic) / f"{record.digest}.json"
        if path.exists():
            known.append(record)
        else:
            write_atomically(path, record.to_json())
            new.append(record)
    return new, known
