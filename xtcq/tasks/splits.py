"""Official splits of public data sets: from a folder, or from the Hugging Face hub, and whole."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pandas as pd

from xtcq.hub import local_folder, reading_hub
from xtcq.tasks.spec import TaskSpec
from xtcq.tasks.tables import read_table


def read_split(
    spec: TaskSpec, split: str, official: Mapping[str, int], repository: str, *config: str
) -> tuple[pd.DataFrame, str]:
    """Read an official split of a task: from a folder, ``$XTCQ_DATA/glue/cola`` say, where it exists, or from the hub.

    ``HF_HUB_OFFLINE=1`` restricts the hub to its local cache. The package ``datasets`` asks a hub that does not answer
    several times; each time has the limit of ``HF_HUB_DOWNLOAD_TIMEOUT``.

    ``official`` are the rows of all splits that the task needs, and ``config`` is the data set's configuration, if it
    has several. Returned are the table and what to call it in a message.

    Raises:
        FileNotFoundError: no source has the data, or the folder lacks the split.
        ValueError: the file is damaged, or has another number of rows.
    """
    folder = (repository.split("/")[1], *config)
    if (found := local_folder("XTCQ_DATA", *folder)) is not None:
        if not (path := found / f"{split}.parquet").is_file():
            raise FileNotFoundError(
                f"{path} is missing: task {spec.name!r} needs the splits {', '.join(official)}; add the file, or "
                f"remove {found} to read the task from the Hugging Face hub"
            )
        frame, origin = read_table(path)
    else:
        demo = "demo-questions" if spec.head == "questions" else "demo-pairs"
        wanted, where = ", ".join(f"{name}.parquet" for name in official), "/".join(("$XTCQ_DATA", *folder))
        remedy = (
            f"put {wanted} (the columns of {repository}) into {where}, where XTCQ_DATA is "
            f"{os.environ.get('XTCQ_DATA') or 'not set'}, or load the task once with a connection to the hub, or use a "
            f"demo task ({demo}), which needs no data"
        )
        try:
            import datasets
        except ImportError as error:
            raise FileNotFoundError(
                f"no data for task {spec.name!r}: reading the hub needs the package `datasets`; install it, or {remedy}"
            ) from error
        with reading_hub(f"no data for task {spec.name!r}", repository, remedy):
            frame = datasets.load_dataset(repository, *config, split=split).to_pandas()
        origin = f"{repository} ({', '.join((*config, split))}) on the Hugging Face hub"
    if len(frame) != (rows := official[split]):
        raise ValueError(
            f"{origin} has {len(frame):,} rows, but the official {split} split has {rows:,}; use the complete split, "
            f"results on a subset are not results on {spec.name}"
        )
    return frame, origin
