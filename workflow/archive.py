"""Packs the edition into one file, for a release or a repository of data: pages, Records, and the papers' tables.

The archive is an RO-Crate (https://w3id.org/ro/crate/1.1): a zip with a description of what is in it. The same files at
the same commit give the same bytes: names are sorted, and times are that of the commit.
"""

import hashlib
import json
import os
import subprocess
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

# What goes in, and what each is. The rendered pages are one thing; of the rest every file is listed.
PAGES = ("_build/html", "the rendered book; index.html is its first page")
LISTED = (
    ("book/records", "*.json", "application/json", "Record of a run: settings, every metric, predictions, machine"),
    ("book/published", "*.csv", "text/csv", "numbers that the papers print, with their source"),
    ("book", "claims.yaml", "application/yaml", "the papers' claims, and what decides each"),
    (".", "CITATION.cff", "application/yaml", "how to cite this edition"),
    (".", "LICENSE", "text/plain", "Apache License 2.0"),
)
DESCRIPTION = "ro-crate-metadata.json"


class ArchiveError(RuntimeError):
    """Something that belongs into the archive is not there."""


def archive(root: Path, target: Path) -> Path:
    """Writes the archive of what is committed and rendered.

    Args:
        root: the repository, with the pages of `make html`.
        target: the zip, put in place by rename.

    Returns:
        The target.

    Raises:
        ArchiveError: if the pages were not rendered, or nothing says when this edition was made.
    """
    pages = root / PAGES[0]
    if not (pages / "index.html").exists():
        raise ArchiveError(f"{pages} holds no rendered book: run `make html` first")
    made = _time(root)
    contents = {f"html/{path.relative_to(pages).as_posix()}": path for path in pages.rglob("*") if path.is_file()}
    entries = []
    for folder, pattern, kind, what in LISTED:
        for path in sorted((root / folder).rglob(pattern) if folder != "." else [root / pattern]):
            name = path.relative_to(root).as_posix()
            contents[name] = path
            entries.append(_entry(name, path.read_bytes(), kind, what))
    contents = dict(sorted(contents.items()))
    description = json.dumps(_crate(root, made, entries), indent=1, ensure_ascii=False) + "\n"
    partial = target.with_suffix(".tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, data in [(DESCRIPTION, description.encode()), *((n, p.read_bytes()) for n, p in contents.items())]:
            info = zipfile.ZipInfo(name, made.timetuple()[:6])
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(info, data)
    partial.replace(target)
    return target


def _time(root: Path) -> datetime:
    """When the edition was made: SOURCE_DATE_EPOCH, else the time of the commit."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None:
        command = ["git", "log", "-1", "--format=%ct"]
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    if not said.isdigit():
        raise ArchiveError("no commit says when this edition was made: set SOURCE_DATE_EPOCH to its seconds since 1970")
    return datetime.fromtimestamp(int(said), UTC)


def _entry(name: str, data: bytes, kind: str, what: str) -> dict[str, str]:
    digest = hashlib.sha256(data).hexdigest()
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "description": what,
        "encodingFormat": kind,
        "contentSize": str(len(data)),
        "sha256": digest,
    }


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
            {"@id": "html/", "@type": "Dataset", "name": "Pages", "description": PAGES[1]},
            *entries,
        ],
    }


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    target: Annotated[Path | None, typer.Argument(help="the zip; _build/xtcq-VERSION.zip if left out")] = None,
) -> None:
    """Pack the rendered edition with its Records and tables."""
    root = Path(__file__).resolve().parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    try:
        packed = archive(root, target or root / "_build" / f"xtcq-{version}.zip")
    except ArchiveError as error:
        raise SystemExit(f"error: {error}") from None
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    print(f"{packed} {packed.stat().st_size / 2**20:.1f} MiB sha256 {digest}")


if __name__ == "__main__":
    app()
