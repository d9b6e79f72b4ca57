import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from dependencies import digest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.workflow import forked

WORKFLOW = Path(__file__).parents[2] / "workflow"


def write(path, *cells, text="words"):
    head = new_code_cell('profile: str = "demo"\nseed: int = 42', metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[new_markdown_cell(text), head, *map(new_code_cell, cells)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


# The project is installed in the tests' environment, and what is executed here are pages of another one.
DRAWING = """import os
if False: from xtcq_book import draw
print(profile, seed, os.environ['XTCQ_RECORDS'])"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shutil.copytree(WORKFLOW, tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("notebooks", "book/executed", "book/xtcq_book", "xtcq"):
        (tmp_path / folder).mkdir(parents=True)
    for page in ("_toc.yml", "_config.yml", "book/index.md", "xtcq/train.py", "book/xtcq_book/draw.py"):
        (tmp_path / page).write_text("")
    write(tmp_path / "notebooks/one.ipynb", DRAWING)
    write(tmp_path / "notebooks/two.ipynb", "import os\nprint(os.environ['XTCQ_RECORDS'])")
    return tmp_path


# What is executed does not matter to what is stale, and a kernel takes seconds: cells run without one.
WITHOUT_A_KERNEL = """
import contextlib, io, json, sys
from pathlib import Path

template, page, _, _, _, code, _, parameters = sys.argv[1:]
notebook, names, said = json.loads(Path(template).read_text()), {}, io.StringIO()
with contextlib.redirect_stdout(said):
    for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        exec("".join(cell["source"]), names)
        names.update(json.loads(parameters) if number == 0 else {})
notebook["metadata"]["xtcq"] = {"code": code}
notebook["cells"][-1]["outputs"] = [{"text": said.getvalue().splitlines(keepends=True)}]
Path(page).parent.mkdir(parents=True, exist_ok=True)
Path(page).write_text(json.dumps(notebook))
"""


@pytest.fixture
def without_a_kernel(repository):
    (repository / "workflow/execute.py").write_text(WITHOUT_A_KERNEL)


def snakemake(repository, profile, *config, check=True, names=("one", "two"), **parameters):
    (repository / "parameters.json").write_text(json.dumps({"parameters": parameters}))
    done = f"_build/done/{'published' if profile == 'mini' else profile}"
    pages = [f"{done}/{name}" for name in names]
    config = (f"profile={profile}", *config)
    ran = forked.snakemake(*pages, "--config", *config, "--configfile", "parameters.json", folder=repository)
    assert not check or ran.returncode == 0, ran.stderr
    return ran


def outputs(page):
    return json.loads(page.read_text())["cells"][-1]["outputs"]


def written(repository):
    return {path.name: path.stat().st_mtime_ns for path in repository.glob("_build/executed/demo/*.ipynb")}


def test_a_folder_with_a_space(repository, without_a_kernel, tmp_path, monkeypatch):
    python = tmp_path / "own environment" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PYTHONPATH", sysconfig.get_path("purelib"))
    command = [python, "-m", "snakemake", "_build/done/demo/two", "--config", "profile=demo"]
    subprocess.run(command, cwd=repository, check=True)
    assert list(written(repository)) == ["two.ipynb"]


def test_what_is_stale_runs_and_nothing_else(repository, without_a_kernel):
    snakemake(repository, "demo")
    first = written(repository)
    assert sorted(first) == ["one.ipynb", "two.ipynb"] and not list(repository.glob("book/executed/*"))
    for name in first:
        said = nbformat.read(repository / "_build/executed/demo" / name, as_version=4).metadata.xtcq.code
        assert said == digest(repository / "notebooks" / name, repository), "a page says what code made it"

    write(repository / "notebooks/one.ipynb", DRAWING, text="new")
    snakemake(repository, "demo")
    assert written(repository) == first, "other prose is no reason to execute"

    write(repository / "notebooks/one.ipynb", DRAWING + "\nprint('other code')")
    snakemake(repository, "demo")
    second = written(repository)
    assert second["one.ipynb"] > first["one.ipynb"] and second["two.ipynb"] == first["two.ipynb"]

    snakemake(repository, "demo", two={"seed": 7})
    third, before = written(repository), outputs(repository / "_build/executed/demo/two.ipynb")
    assert third["two.ipynb"] > second["two.ipynb"] and third["one.ipynb"] == second["one.ipynb"]

    (repository / "book/xtcq_book/draw.py").write_text("from xtcq import train")
    snakemake(repository, "demo", two={"seed": 7})
    fourth = written(repository)
    assert fourth["one.ipynb"] > third["one.ipynb"] and fourth["two.ipynb"] == third["two.ipynb"], "who draws with it"

    (repository / "xtcq/train.py").write_text("changed = True")
    snakemake(repository, "demo", two={"seed": 7})
    fifth = written(repository)
    assert all(fifth[name] > fourth[name] for name in fourth), "a library that trains otherwise"
    assert outputs(repository / "_build/executed/demo/two.ipynb") != before, "has other Records"


def test_a_demo_run_is_kept_for_the_code_that_trains_alike(repository, without_a_kernel):
    records = []
    for module in ("records", "regime", "gathering"):
        (repository / "xtcq/study").mkdir(exist_ok=True)
        (repository / f"xtcq/study/{module}.py").write_text("changed = True")
        snakemake(repository, "demo", names=("two",))
        records.append(outputs(repository / "_build/executed/demo/two.ipynb"))
    assert records[0] != records[1] == records[2], "the regime gives a search its rate; gathering only reads"


def test_the_published_edition_has_the_parameters_of_its_scale(repository, without_a_kernel):
    page = repository / "book/executed/one.ipynb"
    (repository / "workflow/published.json").write_text(json.dumps({"parameters": {"one": {"seed": 7}}}))
    snakemake(repository, "mini", names=("one",))
    assert outputs(page)[0]["text"] == ["mini 7 book/records\n"]
    snakemake(repository, "paper", names=("one",))
    other = repository / "_build/executed/paper/one.ipynb"
    assert outputs(other)[0]["text"] == ["paper 42 book/records\n"], "its parameters are those of one scale"
    assert outputs(page)[0]["text"] == ["mini 7 book/records\n"], "and its pages replace none of another"
    snakemake(repository, "mini", names=("one",), one={"seed": 111})
    assert outputs(page)[0]["text"] == ["mini 111 book/records\n"]


def test_a_failure_leaves_the_page_and_stops_no_other(repository):
    page = repository / "book/executed/one.ipynb"
    page.write_text("an earlier page")
    write(repository / "notebooks/one.ipynb", "raise KeyError('gone')")
    ran = snakemake(repository, "mini", check=False, two={"seed": 7})
    assert ran.returncode != 0 and "KeyError" in ran.stderr
    assert page.read_text() == "an earlier page"
    two = json.loads((repository / "book/executed/two.ipynb").read_text())
    assert two["cells"][-1]["outputs"][0]["text"] == ["book/records\n"]
    assert two["metadata"]["papermill"]["parameters"] == {"profile": "mini", "seed": 7}
    assert (repository / "_build/logs/published/one.failed.ipynb").exists()
    assert not (repository / "_build/done/published/one").exists()


def test_a_cluster_gets_a_job_with_a_gpu_for_every_chapter(repository, without_a_kernel):
    profile = ("--workflow-profile", "workflow/profiles/slurm", "--config", "profile=mini")
    ran = forked.snakemake("--dry-run", *profile, folder=repository)
    assert ran.returncode == 0, ran.stderr
    for setting in ("\nrule execute:", "threads: 8", "gpu=1"):
        assert ran.stdout.count(setting) == 2, setting
    assert "runtime=1440" in ran.stdout


def test_configuration_that_makes_no_sense(repository, without_a_kernel):
    ran = snakemake(repository, "huge", check=False)
    assert ran.returncode != 0 and "unknown profile 'huge'" in ran.stderr
    ran = snakemake(repository, "demo", check=False, three={"seed": 1})
    assert ran.returncode != 0 and "unknown notebooks ['three']: there are ['one', 'two']" in ran.stderr


@pytest.mark.skipif(sys.platform != "linux" or any(Path("/dev").glob("nvidia[0-9]*")), reason="Linux without a card")
def test_demo_pages_side_by_side_share_imports_and_train_one_run_at_a_time(repository, without_a_kernel):
    one = repository / "notebooks/one.ipynb"
    notebook = nbformat.read(one, as_version=4)
    notebook.cells[1].source += "\njobs: int = 2"
    notebook.cells.append(new_code_cell("print(jobs, os.environ.get('XTCQ_KERNELS'))"))
    nbformat.write(notebook, one)
    for config, at_a_time in ((["jobs=2"], "1"), ([], "2")):
        snakemake(repository, "demo", *config)
        jobs, kernels = outputs(repository / "_build/executed/demo/one.ipynb")[0]["text"][-1].split()
        assert jobs == at_a_time and (kernels != "None") == bool(config)
        shutil.rmtree(repository / "_build/done")
    snakemake(repository, "demo", "jobs=2", names=("one",))
    assert outputs(repository / "_build/executed/demo/one.ipynb")[0]["text"][-1].split()[1] == "None", "for one page"
