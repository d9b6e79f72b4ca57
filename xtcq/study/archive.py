"""Records as one file: from a machine without version control or network to where the study is kept."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from xtcq.files import whole_file
from xtcq.study.records import Record, RecordError, read_record, save_record, stored_in


def export_records(records: Iterable[Record], archive: Path) -> int:
    """Write Records into a zip archive, under a temporary name that is then renamed, and return their number.

    Raises:
        OSError: if it cannot be written; an earlier file is then still whole.
    """
    with whole_file(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for record in records:
            file.writestr(f"{record.digest}.json", record.to_json())
        return len(file.namelist())


def read_archive(archive: Path) -> list[Record]:
    """Read and check the Records of an archive that `export_records` wrote.

    Raises:
        RecordError: if the archive is damaged or cut off, holds something else than Records, or one that does not match
            its digests or is of another schema.
        FileNotFoundError: if there is no such file.
    """
    again = "Export it again where it was made."
    try:
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
            if wrong := [name for name in names if name != Path(name).name or not name.endswith(".json")]:
                raise RecordError(f"{archive} holds {wrong[0]!r}, which is no Record. {again}")
            return [read_record(partial(file.read, name), archive / name, again) for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise RecordError(f"{archive} is damaged or cut off ({error}): copy or export it again") from error


def import_records(archive: Path) -> tuple[list[Record], list[Record]]:
    """Add the Records of an archive to those that are here; all are checked before the first is written.

    Those that are here already stay as they were, be they equal or not: the new ones are returned, and then these.
    Errors are those of `read_archive`; nothing was written then.
    """
    new, known = [], []
    for record in read_archive(archive):
        if stored_in(record).exists():
            known.append(record)
        else:
            save_record(record)
            new.append(record)
    return new, known
