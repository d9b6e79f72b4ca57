"""The names of a packed classifier's labels."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import BertForSequenceClassification

from xtcq.files import whole_folder
from xtcq.outputs import check_names
from xtcq.packing.manifest import CONFIG_FILE, MAP_FILE, Manifest, describe_file
from xtcq.packing.packed import load_packed


def rename_labels(folder: str | Path, names: Sequence[str]) -> list[str]:
    """Rename the labels of a packed classifier, in order, and return those that there were; the rest stays to the bit.

    Raises:
        FileNotFoundError: the folder holds no packed model.
        PackedModelError: it is damaged; see ``load_packed``.
        ValueError: it is no classifier, or there are not as many different names as it has labels.
        OSError: it cannot be written, and stays as it was.
    """
    folder = Path(folder).absolute()
    model = load_packed(folder)
    config: Any = model.config
    before, names = [str(config.id2label[i]) for i in range(config.num_labels)], list(names)
    if not isinstance(model, BertForSequenceClassification) or len(before) == 1:
        raise ValueError(f"{folder} holds a {type(model).__name__} without classes: it has no labels to rename")
    check_names("names", dict(enumerate(names)), len(before), f"in the order of {before}")
    with whole_folder(folder) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        fields = json.loads((folder / CONFIG_FILE).read_bytes())
        fields |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        (temporary / CONFIG_FILE).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        manifest = Manifest.read(folder)
        files = manifest.files | {CONFIG_FILE: describe_file(temporary / CONFIG_FILE)}
        (temporary / MAP_FILE).write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")
    return before
