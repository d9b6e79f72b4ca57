import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import execute
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

KERNELS = Path(execute.__file__).with_name("kernels.py")
MODULE = "import os\nimported_by = os.getpid()\n"


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "imported_once.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, KERNELS, "serve", "imported_once", "no_such_module"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True) as process:
        monkeypatch.setenv("XTCQ_KERNELS", process.stdout.readline().strip())
        yield process
        process.stdin.close()


@pytest.fixture
def run(tmp_path):
    def run(*cells, name="page", **parameters):
        declared = new_code_cell("rank: int = 0", metadata={"tags": ["parameters"]})
        notebook = new_notebook(cells=[declared, *map(new_code_cell, cells)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        template = tmp_path / f"{name}-template.ipynb"
        nbformat.write(notebook, template)
        page = execute.execute(template, tmp_path / f"{name}.ipynb", tmp_path / "logs" / f"{name}.log", parameters)
        return [cell.outputs[0].text for cell in nbformat.read(page, as_version=4).cells if cell.get("outputs")]

    return run


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_kernel_has_its_imports_behind_it_and_nothing_of_the_one_before(server, run, tmp_path, monkeypatch):
    own = "import imported_once as m, os\nprint(m.imported_by, os.getpid(), os.environ['MINE'], os.getcwd(), rank)"
    monkeypatch.setenv("MINE", "first")
    monkeypatch.chdir(tmp_path)
    (first,) = run(own, "m.left = True", rank=1)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("MINE", "second")
    monkeypatch.chdir(elsewhere)
    second, left = run(own, "print(hasattr(m, 'left'))", rank=2)
    (imported_by, one, *said), (imported_again, other, *said_then) = first.split(), second.split()
    assert imported_by == imported_again == str(server.pid) and len({imported_by, one, other}) == 3
    assert said == ["first", str(tmp_path), "1"] and said_then == ["second", str(elsewhere), "2"]
    assert left == "False\n"
    wait_for(lambda: not alive(int(one)) and not alive(int(other)))


def test_a_kernel_waits_for_its_processes_although_nobody_waits_for_kernels(server, run):
    cell = "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'raise SystemExit(3)']).returncode)"
    assert run(cell) == ["3\n"]


def test_a_failing_cell_and_a_dying_kernel(server, run):
    with pytest.raises(PapermillExecutionError, match="no such task"):
        run("raise KeyError('no such task')")
    with pytest.raises(Exception, match="Kernel died"):
        run("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert run("print(1)") == ["1\n"]


@pytest.fixture
def ask(tmp_path):
    def ask():
        connection = tmp_path / "kernel.json"
        command = [sys.executable, "-IS", KERNELS, "start", os.environ["XTCQ_KERNELS"], connection]
        return subprocess.Popen(command), connection

    return ask


def test_who_asks_is_killed(server, ask):
    """A kernel, which is no child of its, ends with the process that Jupyter takes for it; interrupts reach it."""
    asking, connection = ask()
    wait_for(lambda: connection.exists() and json.loads(connection.read_text() or "{}"))
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    (kernel,) = map(int, children.read_text().split())
    asking.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert asking.poll() is None and alive(kernel)
    asking.kill()
    asking.wait()
    wait_for(lambda: not alive(kernel))


def test_kernels_end_with_the_process_they_are_forked_from(server, ask):
    asking, connection = ask()
    wait_for(connection.exists)
    assert Path(os.environ["XTCQ_KERNELS"]).exists()
    server.stdin.close()
    assert server.wait(timeout=30) == 0
    assert asking.wait(timeout=30) == 1
    assert not Path(os.environ["XTCQ_KERNELS"]).parent.exists()
    assert "kernels: no_such_module: No module named 'no_such_module'" in server.stderr.read()


def test_a_socket_that_nobody_serves_any_more_is_no_reason_to_fail(tmp_path, run, monkeypatch):
    monkeypatch.setenv("XTCQ_KERNELS", str(tmp_path / "gone"))
    assert run("print(1)") == ["1\n"]
