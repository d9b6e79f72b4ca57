"""Packs the edition into one file, for a release or a repository of data: pages, Records, and the papers' tables.

The archive is an RO-Crate (https://w3id.org/ro/crate/1.1): a zip with a description of what is in it. The same files at
the same commit give the same bytes: names are sorted, and times are that of the commit.
"""

import json
import os
import subprocess
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from xtcq import __version__
from xtcq.files import sha256, whole_file

# What goes in beside the rendered pages, and what each is: of these every file is listed.
LISTED = {
    "book/records/*.json": ("application/json", "Record of a run: settings, every metric, predictions, machine"),
    "book/published/*.csv": ("text/csv", "numbers that the papers print, with their source"),
    "book/claims.yaml": ("application/yaml", "the papers' claims, and what decides each"),
    "CITATION.cff": ("application/yaml", "how to cite this edition"),
    "LICENSE": ("text/plain", "Apache License 2.0"),
}
DESCRIPTION = "ro-crate-metadata.json"


def archive(root: Path, target: Path) -> Path:
    """Writes the archive of what is committed and rendered.

    Args:
        root: the repository, with the pages of `make html`.
        target: the zip, put in place by rename, and returned.

    Raises:
        ValueError: if the pages were not rendered, or nothing says when this edition was made.
    """
    pages = root / "_build" / "html"
    if not (pages / "index.html").exists():
        raise ValueError(f"{pages} holds no rendered book: run `make html` first")
    made = _time(root)
    contents = {f"html/{path.relative_to(pages).as_posix()}": path for path in pages.rglob("*") if path.is_file()}
    entries = []
    for pattern, (kind, what) in LISTED.items():
        for path in sorted(root.glob(pattern)):
            name = path.relative_to(root).as_posix()
            contents[name] = path
            entry = {"@id": name, "@type": "File", "name": name, "description": what, "encodingFormat": kind}
            entries.append(entry | {"contentSize": str(path.stat().st_size), "sha256": sha256(path)})
    description = json.dumps(_crate(root, made, entries), indent=1, ensure_ascii=False) + "\n"
    with whole_file(target) as partial, zipfile.ZipFile(partial, "w") as packed:
        for name in (DESCRIPTION, *sorted(contents)):
            info = zipfile.ZipInfo(name, made.timetuple()[:6])
            info.external_attr = 0o644 << 16
            data = description.encode() if name == DESCRIPTION else contents[name].read_bytes()
            packed.writestr(info, data, zipfile.ZIP_DEFLATED)
    return target


def _time(root: Path) -> datetime:
    """When the edition was made: SOURCE_DATE_EPOCH, else the time of the commit."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None:
        command = ["git", "log", "-1", "--format=%ct"]
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    if not said.isdigit():
        raise ValueError("no commit says when this edition was made: set SOURCE_DATE_EPOCH to its seconds since 1970")
    return datetime.fromtimestamp(int(said), UTC)


def _crate(root: Path, made: datetime, entries: list[dict[str, str]]) -> dict[str, object]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = [{"@id": "html/"}, *({"@id": entry["@id"]} for entry in entries)]
    dataset = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{project['name']} {project['version']}: BERT in one and two bits",
        "description": project["description"],
        "version": project["version"],
        "datePublished": made.date().isoformat(),
        "license": {"@id": "https://spdx.org/licenses/Apache-2.0"},
        "creator": [{"@id": "#authors"}],
        "url": project["urls"]["Repository"],
        "hasPart": parts,
    }
    return {
        "@context": ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}],
        "@graph": [
            {
                "@id": DESCRIPTION,
                "@type": "CreativeWork",
                "about": {"@id": "./"},
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            },
            dataset,
            {"@id": "#authors", "@type": "Organization", "name": project["authors"][0]["name"]},
            {
                "@id": "https://spdx.org/licenses/Apache-2.0",
                "@type": "CreativeWork",
                "name": "Apache License 2.0",
            },
            {
                "@id": "html/",
                "@type": "Dataset",
                "name": "Pages",
                "description": "the rendered book; index.html is its first page",
            },
            *entries,
        ],
    }


def main(
    target: Annotated[Path | None, typer.Argument(help="the zip; _build/xtcq-VERSION.zip if left out")] = None,
) -> None:
    """Pack the rendered edition with its Records and tables."""
    root = Path(__file__).resolve().parents[1]
    try:
        packed = archive(root, target or root / "_build" / f"xtcq-{__version__}.zip")
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{packed} {packed.stat().st_size / 2**20:.1f} MiB sha256 {sha256(packed)}")


if __name__ == "__main__":
    typer.run(main)
