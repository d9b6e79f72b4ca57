"""Reading the files of a data set: from a folder of the user's, or from the Hugging Face hub."""

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xtcq.hub import reading_hub


def data_folder(*parts: str) -> Path | None:
    """Return the folder `parts` inside `$XTCQ_DATA`, or None if it or the variable is not there.

    Raises:
        FileNotFoundError: If `XTCQ_DATA` is set and names no folder.
    """
    root = os.environ.get("XTCQ_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise FileNotFoundError(f"XTCQ_DATA names {root!r}, which is not a folder; correct or unset it")
    folder = Path(root, *parts)
    return folder if folder.is_dir() else None


def read_parquet(path: Path, task: str, splits: Iterable[str]) -> pd.DataFrame:
    """Read the file of one split.

    Args:
        path: The file.
        task: Name of the task that needs it, for the message.
        splits: The splits that the task needs, likewise.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: task {task!r} needs the splits {', '.join(splits)}; add the file, or remove "
            f"{path.parent} to read the task from the Hugging Face hub"
        )
    try:
        # One file at a time: a folder would be read as one data set with inferred partitions.
        return pq.ParquetFile(path).read().to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({error}); it is damaged, replace it") from error


def read_hub(repository: str, parts: tuple[str, ...], split: str, task: str, remedy: str) -> pd.DataFrame:
    """Read one split from the hub, or from its local cache with `HF_HUB_OFFLINE=1`.

    The package `datasets` asks a hub that does not answer several times. Each time has the limit of
    `HF_HUB_DOWNLOAD_TIMEOUT`.

    Args:
        repository: Name of the data set on the hub.
        parts: Name of the configuration, if it has several.
        split: Name of the split.
        task: Name of the task that needs it, for the message.
        remedy: What else can be done, likewise.

    Raises:
        FileNotFoundError: If the package `datasets`, the connection or the data set is missing.
    """
    try:
        import datasets
    except ImportError as error:
        raise FileNotFoundError(
            f"no data for task {task!r}: reading the hub needs the package `datasets`; install it, or {remedy}"
        ) from error
    with reading_hub(f"no data for task {task!r}", repository, remedy):
        return datasets.load_dataset(repository, *parts, split=split).to_pandas()


def how_to_get(repository: str, parts: tuple[str, ...], splits: Iterable[str], demos: Iterable[str]) -> str:
    """Say how to get data that were not found.

    Args:
        repository: Name of the data set on the hub.
        parts: Its folder inside `$XTCQ_DATA`.
        splits: The splits that are needed.
        demos: Names of tasks that need no data.
    """
    wanted = ", ".join(f"{split}.parquet" for split in splits)
    return (
        f"put {wanted} (the columns of {repository}) into {'/'.join(('$XTCQ_DATA', *parts))}, where XTCQ_DATA is "
        f"{os.environ.get('XTCQ_DATA') or 'not set'}, or load the task once with a connection to the hub, or use a "
        f"demo task ({', '.join(demos)}), which needs no data"
    )
