import asyncio
import json
import os
import shutil
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
MODULE = """import logging, os, numpy
imported_by, os.environ["SET_BY_IMPORT"] = os.getpid(), "yes"
logging.getLogger("library").addHandler(logging.StreamHandler())
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "imported_once.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "broken.py").write_text("this is no Python")
    # A process that was forked from one with onnxruntime does not end by itself.
    command = [sys.executable, KERNELS, "serve", "imported_once", "no_such_module", "broken", "onnxruntime"]
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


def kernels_of(server):
    return list(map(int, Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()))


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
    wait_for(lambda: not kernels_of(server))


def test_kernels_draw_other_numbers(server, run):
    cell = "import imported_once, numpy, random\nprint(numpy.random.rand(), random.random())"
    first, second = run(cell)[0].split(), run(cell)[0].split()
    assert not set(first) & set(second)


def test_what_a_library_logs_is_shown_and_what_it_set_stays(server, run):
    cell = "import imported_once, logging, os\nlogging.getLogger('library').warning(os.environ['SET_BY_IMPORT'])"
    assert run(cell) == ["yes\n"]


def test_side_by_side_kernels_share_no_history(server, run):
    assert run("print(get_ipython().history_manager.hist_file)") == [":memory:\n"]


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
    def ask(*parent):
        connection = tmp_path / "kernel.json"
        command = [*parent, sys.executable, "-IS", KERNELS, "start", os.environ["XTCQ_KERNELS"], connection]
        return subprocess.Popen(command), connection

    return ask


# A shell stands for the process that executes, which has a process of its own for the kernel.
@pytest.mark.parametrize("parent", [(), ("sh", "-c", '"$@"; true', "sh")], ids=["who asks", "its parent"])
def test_a_kernel_ends_with_who_asks_and_with_its_parent(server, ask, parent):
    asking, connection = ask(*parent)
    wait_for(lambda: connection.exists() and json.loads(connection.read_text() or "{}"))
    (kernel,) = kernels_of(server)
    asking.kill()
    asking.wait()
    wait_for(lambda: not alive(kernel))


def test_an_interrupt_reaches_the_cell_and_a_kill_what_it_started(server, tmp_path):
    manager = execute._Forked(connection_file=str(tmp_path / "kernel.json"))

    async def interrupted():
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=30)
        client.execute("import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid)\nimport time; time.sleep(600)")
        said = ""
        while not said:
            message = await client.get_iopub_msg(timeout=30)
            said = message["content"].get("text", "")
        time.sleep(0.5)
        await manager.interrupt_kernel()
        reply = await client.get_shell_msg(timeout=30)
        while "ename" not in reply["content"]:
            reply = await client.get_shell_msg(timeout=30)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        return reply["content"]["ename"], int(said)

    name, started = asyncio.run(interrupted())
    assert name == "KeyboardInterrupt"
    wait_for(lambda: not alive(started) and not kernels_of(server))


def test_kernels_end_with_the_process_they_are_forked_from(server, ask):
    asking, connection = ask()
    wait_for(connection.exists)
    assert Path(os.environ["XTCQ_KERNELS"]).exists()
    server.stdin.close()
    assert server.wait(timeout=30) == 0
    assert asking.wait(timeout=30) == 1
    assert not Path(os.environ["XTCQ_KERNELS"]).parent.exists()
    said = server.stderr.read()
    assert "kernels: no_such_module: ModuleNotFoundError" in said and "kernels: broken: SyntaxError" in said


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_without_the_process_to_fork_from_a_notebook_has_a_kernel_all_the_same(server, run, how):
    folder = Path(os.environ["XTCQ_KERNELS"]).parent
    server.send_signal(how)
    server.wait(timeout=30)
    assert folder.exists() == (how == signal.SIGKILL), "what was killed leaves its socket"
    assert run("print(1)") == ["1\n"]
    shutil.rmtree(folder, ignore_errors=True)
