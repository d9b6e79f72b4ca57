"""The quantization map of a packed model: what its files are, and how to read them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

FORMAT = "xtcq-packed"
VERSION = 1
MAP_FILE = "quantization_map.json"
# Not "model.safetensors": transformers would take codes for a checkpoint that lacks its weights, and draw new ones.
WEIGHTS_FILE = "packed.safetensors"
CONFIG_FILE = "config.json"

_NO_DIGEST = "0" * 64
_PLAIN_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


class PackedModelError(ValueError):
    """A folder that is not a packed model that can be trusted; the message names the file and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``quantization_map.json``, beside format, version and its own digest.

    Attributes:
        precision: notation for ``Precision.parse``.
        recipe: name of the recipe, as in ``QuantConfig``.
        lora_rank: as in ``QuantConfig``.
        rest: "fp32" or "fp16", how everything but the codes is stored.
        files: name to ``bytes`` and ``sha256``, for every file whose content decides what the model computes.
        modules: what ``quantization_map`` returns for the model.
    """

    precision: str
    recipe: str
    lora_rank: int
    rest: str
    files: dict[str, dict[str, Any]]
    modules: dict[str, dict[str, Any]]

    def to_json(self) -> str:
        """Serialise; ``digest`` is the SHA-256 of the text with 64 zeros in its place."""
        fields = {"format": FORMAT, "version": VERSION, "digest": _NO_DIGEST} | dataclasses.asdict(self)
        text = json.dumps(fields, indent=1) + "\n"
        return text.replace(_NO_DIGEST, _sha256(text.encode()), 1)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check the map in ``folder``.

        Raises:
            FileNotFoundError: there is none.
            PackedModelError: it is not a map, of another version, damaged, or names a file that it must not name.
        """
        path = folder / MAP_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} has no {MAP_FILE}, so it holds no packed model: give the folder that save_packed wrote"
            )
        data = path.read_bytes()
        try:
            fields = json.loads(data)
            found = fields.pop("format"), fields.pop("version"), fields.pop("digest")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise PackedModelError(f"{path} is no quantization map ({error!r}). {_again(folder)}") from error
        name, version, digest = found
        if name != FORMAT or version != VERSION:
            raise PackedModelError(
                f"{path} says format {name!r} version {version!r}, and this xtcq reads {FORMAT!r} version {VERSION}: "
                "install the xtcq that wrote it, or pack the model again"
            )
        if digest != _sha256(data.replace(str(digest).encode(), _NO_DIGEST.encode(), 1)):
            raise PackedModelError(f"{path} was changed or damaged: its digest does not fit. {_again(folder)}")
        try:
            manifest = cls(**fields)
            for file, stated in manifest.files.items():
                _check_name(path, file)
                if not stated.keys() >= {"bytes", "sha256"}:
                    raise TypeError(f"{file} has {', '.join(stated) or 'nothing'}, expected bytes and sha256")
        except (AttributeError, TypeError) as error:
            raise PackedModelError(f"{path} does not hold the fields of version {VERSION} ({error})") from error
        return manifest

    def read_file(self, folder: Path, name: str) -> bytes:
        """Return the content of one of ``files``, checked against its digest.

        Raises:
            FileNotFoundError: the file is missing.
            PackedModelError: the map does not list it, or it is truncated, too long or changed.
        """
        if name not in self.files:
            raise PackedModelError(f"{folder / MAP_FILE} does not list {name}: pack the model again")
        path, stated = folder / name, self.files[name]
        if not path.is_file():
            pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
            hint = f" {pickles[0]} is a pickle, which can run any code and is never read." if pickles else ""
            raise FileNotFoundError(f"{path} is missing.{hint} {_again(folder)}")
        data = path.read_bytes()
        if len(data) != stated["bytes"]:
            raise PackedModelError(
                f"{path} has {len(data)} bytes, expected {stated['bytes']}: it is truncated or another file. "
                f"{_again(folder)}{_renamed(name)}"
            )
        if _sha256(data) != stated["sha256"]:
            raise PackedModelError(
                f"{path} has SHA-256 {_sha256(data)}, expected {stated['sha256']}: it was changed or damaged. "
                f"{_again(folder)}{_renamed(name)}"
            )
        return data


def describe_file(path: Path) -> dict[str, Any]:
    """Return the entry of ``Manifest.files`` for a file."""
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": _sha256(data)}


def _check_name(path: Path, name: str) -> None:
    if not _PLAIN_NAME.fullmatch(name):
        raise PackedModelError(
            f"{path} names the file {name!r}, expected a plain name in the same folder: do not use this model, it may "
            "be an attempt to read other files"
        )
    if name.endswith(_PICKLES):
        raise PackedModelError(
            f"{path} names the file {name!r}, a pickle, which can run any code: weights are read from "
            f"{WEIGHTS_FILE} alone"
        )


def _again(folder: Path) -> str:
    return f"Copy or download {folder.name or folder} again."


def _renamed(name: str) -> str:
    return " Labels are renamed by `python -m xtcq rename-labels`." if name == CONFIG_FILE else ""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
