import hashlib
import json
import os
import zipfile

import archive
import pytest


@pytest.fixture
def repository(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    files = {
        "_build/html/index.html": "<h1>book</h1>",
        "_build/html/_static/style.css": "p {}",
        "_build/html/.nojekyll": "",
        "book/records/0a.json": '{"best": 1}',
        "book/published/xtc-c2.csv": "task,score\nmrpc,1\n",
        "book/claims.yaml": "[]",
        "CITATION.cff": "cff-version: 1.2.0",
        "LICENSE": "Apache",
        "pyproject.toml": '[project]\nname = "xtcq"\nversion = "1.2.3"\ndescription = "d"\n'
        'authors = [{ name = "us" }]\n[project.urls]\nRepository = "https://example.org/xtcq"\n',
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    return root


def test_the_same_files_give_the_same_bytes(repository, tmp_path):
    first = archive.archive(repository, tmp_path / "one.zip").read_bytes()
    for path in sorted(repository.rglob("*"), reverse=True):  # another checkout, at another time, by somebody else
        if path.is_file():
            text = path.read_bytes()
            path.unlink()
            path.write_bytes(text)
            path.chmod(0o600)
            os.utime(path, (1_500_000_000, 1_500_000_000))
    assert archive.archive(repository, tmp_path / "two.zip").read_bytes() == first
    (repository / "book/records/0a.json").write_text('{"best": 2}')
    assert archive.archive(repository, tmp_path / "three.zip").read_bytes() != first


def test_what_is_in_it_and_what_is_said_of_it(repository, tmp_path):
    with zipfile.ZipFile(archive.archive(repository, tmp_path / "one.zip")) as packed:
        names = packed.namelist()
        contents = {name: packed.read(name) for name in names}
        assert {info.date_time for info in packed.infolist()} == {(2026, 9, 21, 14, 13, 20)}
    assert names[0] == "ro-crate-metadata.json" and names[1:] == sorted(names[1:])
    assert {"html/index.html", "html/_static/style.css", "html/.nojekyll"} < set(names)
    graph = {item["@id"]: item for item in json.loads(contents[names[0]])["@graph"]}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    edition = graph["./"]
    assert (edition["version"], edition["datePublished"]) == ("1.2.3", "2026-09-21")
    listed = {part["@id"] for part in edition["hasPart"]}
    # Every file is listed, or lies in a folder that is.
    assert {name for name in names[1:] if not name.startswith("html/")} | {"html/"} == listed
    assert listed <= set(graph)
    for name in listed - {"html/"}:
        assert graph[name]["sha256"] == hashlib.sha256(contents[name]).hexdigest()
        assert int(graph[name]["contentSize"]) == len(contents[name])


def test_pages_that_were_not_rendered(repository, tmp_path):
    (repository / "_build/html/index.html").unlink()
    with pytest.raises(ValueError, match="run `make html` first"):
        archive.archive(repository, tmp_path / "one.zip")
    assert not list(tmp_path.glob("one*"))


def test_an_edition_without_a_time(repository, tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with pytest.raises(ValueError, match="set SOURCE_DATE_EPOCH"):
        archive.archive(repository, tmp_path / "one.zip")
