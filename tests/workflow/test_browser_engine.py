import base64
import gzip
import hashlib
import io
import subprocess
import tarfile

import browser_engine
import pytest

CONTENT = {browser_engine.SCRIPT: b"export {}", browser_engine.WASM: b"\0asm" * 100, "other.js": b"unused"}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as files:
        for name, data in CONTENT.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            files.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture
def page(tmp_path):
    """The page's folder in a staged book."""
    folder = tmp_path / "source" / "book" / "_static" / "try-it"
    folder.mkdir(parents=True)
    (folder / "app.html").write_text("<button>")
    (folder / "models.json").write_text("{}")
    return folder


def test_only_what_the_page_needs_is_unpacked(archive, tmp_path, monkeypatch):
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    monkeypatch.setattr(browser_engine, "INTEGRITY", f"sha512-{digest}")
    browser_engine.unpack(archive, tmp_path / "engine")
    found = {path.name: path.read_bytes() for path in (tmp_path / "engine").iterdir()}
    assert set(found) == {browser_engine.SCRIPT, f"{browser_engine.WASM}.gz"}
    assert found[browser_engine.SCRIPT] == b"export {}"
    assert gzip.decompress(found[f"{browser_engine.WASM}.gz"]) == CONTENT[browser_engine.WASM]


def test_another_archive_is_refused(archive, tmp_path):
    with pytest.raises(browser_engine.EngineError, match="has the digest sha512-.*, expected sha512-q0y"):
        browser_engine.unpack(archive, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_engine_that_is_kept_is_not_fetched_again(page, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("npm was started"))
    kept = tmp_path / "cache" / f"{browser_engine.PACKAGE}-{browser_engine.VERSION}"
    kept.mkdir(parents=True)
    (kept / browser_engine.SCRIPT).write_text("export {}")
    browser_engine.build_in(tmp_path / "source", tmp_path / "cache")
    assert (page / "engine" / browser_engine.SCRIPT).exists() and (page / "app.html").read_text() == "<button>"


@pytest.mark.parametrize(
    ("npm", "failure", "said"),
    [
        (None, None, "npm is not installed"),
        ("npm", subprocess.CalledProcessError(1, "npm", stderr="ENOTFOUND registry"), "ENOTFOUND registry"),
        ("npm", subprocess.TimeoutExpired("npm", 300), "timed out"),
        ("npm", None, "No such file"),  # npm wrote nothing
    ],
)
def test_without_the_engine_the_page_says_so(npm, failure, said, page, tmp_path, monkeypatch, capsys):
    def run(*_, **__):
        if failure is not None:
            raise failure

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(browser_engine.shutil, "which", lambda _: npm)
    browser_engine.build_in(tmp_path / "source", tmp_path / "cache")
    assert "could not be built into this copy" in (page / "app.html").read_text()
    assert said in capsys.readouterr().out
    assert not list((tmp_path / "cache").glob("*")) and not (page / "engine").exists()


def test_book_without_the_page_needs_no_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("npm was started"))
    browser_engine.build_in(tmp_path / "source", tmp_path / "cache")
