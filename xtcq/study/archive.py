"""Records as one file: from a machine without version control or network to where the study is kept."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from xtcq.files import write_atomically
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
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{archive.name}.") as folder:
        partial = Path(folder) / archive.name
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as file:
            for record in records:
                file.writestr(f"{record.digest}.json", record.to_json())
            number = len(file.namelist())
        partial.replace(archive)
    return number


def import_records(archive: Path) -> tuple[list[Record], list[Record]]:
    """Add the Records of an archive to those that are here; all are checked before the first is written.

    Args:
        archive: that `export_records` wrote.

    Returns:
        Those that are new, and those that were here already and stay as they were, be they equal or not.

    Raises:
        RecordError: if the archive is damaged or cut off, holds something else than Records, or one that does not match
            its digests or is of another schema; nothing was written then.
        FileNotFoundError: if there is no such file.
    """
    try:
        with zipfile.ZipFile(archive) as file, tempfile.TemporaryDirectory() as folder:
            names = file.namelist()
            if wrong := [name for name in names if name != Path(name).name or not name.endswith(".json")]:
                raise RecordError(f"{archive} holds {wrong[0]!r}, which is no Record: export it again")
            found = [load_record(Path(file.extract(name, folder))) for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise RecordError(f"{archive} is damaged or cut off ({error}): copy or export it again") from error
    new, known = [], []
    for record in found:
        path = records_folder() / f"{record.digest}.json"
        if path.exists():
            known.append(record)
        else:
            write_atomically(path, record.to_json())
            new.append(record)
    return new, known
