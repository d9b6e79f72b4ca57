import errno
import os
import socket
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from xtcq import files
from xtcq.files import find_checkout, saving, write_atomically


def test_text_is_replaced_whole_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_atomically(path, "first")
    write_atomically(path, "é")
    assert path.read_text(encoding="utf-8") == "é" and list(path.parent.iterdir()) == [path]


def test_what_a_killed_writer_left_is_swept_and_no_more(tmp_path, killed_prefix):
    path = tmp_path / "file.json"
    others = [f".file.json.{socket.gethostname()}-{process}.abcdefgh" for process in (os.getpid(), os.getppid())]
    others += [".file.json.elsewhere-1.abcdefgh", ".file.json.bak", f"{killed_prefix('other.json')}abcdefgh"]
    for name in (*others, f"{killed_prefix('file.json')}abcdefgh"):
        (tmp_path / name).write_text("half")
    write_atomically(path, "whole")
    assert {file.name for file in tmp_path.iterdir()} == {"file.json", *others}


def test_a_killed_writer_is_known_by_its_temporary_name(tmp_path):
    code = """if True:
        import os, pathlib, runpy, signal, sys
        with runpy.run_path(sys.argv[1])["whole_file"](pathlib.Path("file.json")):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", code, files.__file__], cwd=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    write_atomically(tmp_path / "file.json", "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_is_replaced_though_the_working_directory_is_gone(tmp_path, monkeypatch):
    for name in ("gone", "folder"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with files.whole_folder(tmp_path / "folder") as temporary:
        (temporary / "new").write_text("whole")
    assert (tmp_path / "folder" / "new").read_text() == "whole"


def test_checkout_is_found_from_below(tmp_path, monkeypatch):
    (tmp_path / "book" / "published").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert find_checkout() == tmp_path


@pytest.mark.parametrize(
    ("error", "number", "reason"),
    [
        (OSError(errno.ENOSPC, "any text"), errno.ENOSPC, "No space left on device"),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            errno.ENOSPC,
            "No space",
        ),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), 28, "No space"),
        (Exception("No space left on device (os error 28)"), errno.ENOSPC, "No space left on device"),
        (SafetensorError("I/O error: Permission denied (os error 13)"), errno.EACCES, "Permission denied"),
        (OSError("Not enough free space to write 8 bytes"), None, "Not enough free space to write 8 bytes"),
    ],
)
def test_a_write_that_fails_is_named_whoever_wrote(error, number, reason):
    with pytest.raises(OSError, match=f"{reason}.*; all of x is kept. (Free some space|Put that right)") as caught:
        with saving("all of x is kept"):
            raise error
    assert caught.value.errno == number and caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("x"), KeyboardInterrupt()])
def test_what_is_no_failed_write_stays_as_it_is(error):
    with pytest.raises(type(error)) as caught, saving("x"):
        raise error
    assert caught.value is error
