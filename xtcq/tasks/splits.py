"""Official splits of public data sets: from a folder, or from the Hugging Face hub, and whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from xtcq.hub import reading_hub
from xtcq.tasks.tables import read_table


def data_folder(*parts: str) -> Path | None:
    """Return the folder ``parts`` inside ``$XTCQ_DATA``, or None if it or the variable is not there.

    Raises:
        FileNotFoundError: ``XTCQ_DATA`` is set and names no folder.
    """
    root = os.environ.get("XTCQ_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise FileNotFoundError(f"XTCQ_DATA names {root!r}, which is not a folder; correct or unset it")
    folder = Path(root, *parts)
    return folder if folder.is_dir() else None


def read_split(
    task: str,
    split: str,
    needed: Iterable[str],
    rows: int,
    repository: str,
    folder: tuple[str, ...],
    config: tuple[str, ...] = (),
    demo: str = "demo-pairs",
) -> tuple[pd.DataFrame, str]:
    """Read an official split: from ``$XTCQ_DATA/<folder>/<split>.parquet`` where that folder exists, or from the hub.

    ``HF_HUB_OFFLINE=1`` restricts the hub to its local cache. The package ``datasets`` asks a hub that does not answer
    several times; each time has the limit of ``HF_HUB_DOWNLOAD_TIMEOUT``.

    ``task``, all ``needed`` splits and ``demo``, a task that needs no data, are for messages; ``rows`` is the official
    number of them, ``folder`` a path inside ``$XTCQ_DATA``, and ``config`` the data set's configuration, if it has
    several. Returned are the table and what to call it in a message.

    Raises:
        FileNotFoundError: no source has the data, or the folder lacks the split.
        ValueError: the file is damaged, or has another number of rows.
    """
    if (found := data_folder(*folder)) is not None:
        if not (path := found / f"{split}.parquet").is_file():
            raise FileNotFoundError(
                f"{path} is missing: task {task!r} needs the splits {', '.join(needed)}; add the file, or remove "
                f"{found} to read the task from the Hugging Face hub"
            )
        frame, origin = read_table(path)
    else:
        wanted, where = ", ".join(f"{name}.parquet" for name in needed), "/".join(("$XTCQ_DATA", *folder))
        remedy = (
            f"put {wanted} (the columns of {repository}) into {where}, where XTCQ_DATA is "
            f"{os.environ.get('XTCQ_DATA') or 'not set'}, or load the task once with a connection to the hub, or use a "
            f"demo task ({demo}), which needs no data"
        )
        try:
            import datasets
        except ImportError as error:
            raise FileNotFoundError(
                f"no data for task {task!r}: reading the hub needs the package `datasets`; install it, or {remedy}"
            ) from error
        with reading_hub(f"no data for task {task!r}", repository, remedy):
            frame = datasets.load_dataset(repository, *config, split=split).to_pandas()
        origin = f"{repository} ({', '.join((*config, split))}) on the Hugging Face hub"
    if len(frame) != rows:
        raise ValueError(
            f"{origin} has {len(frame):,} rows, but the official {split} split has {rows:,}; use the complete split, "
            f"results on a subset are not results on {task}"
        )
    return frame, origin
