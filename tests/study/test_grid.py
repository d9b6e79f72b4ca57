import json

import pytest

from xtcq.study import notebook_grid

GRID = "from xtcq.study import load_profile\ngrid = [load_profile(profile).teacher(task) for task in tasks]"


@pytest.fixture
def notebook(tmp_path):
    def build(parameters='profile: str = "mini"\ntasks: list[str] = ["mrpc"]', grid=GRID):
        cells = [{"cell_type": "markdown", "source": ["# title"], "metadata": {}}]
        for tag, source in (("parameters", parameters), ("grid", grid)):
            if source is not None:
                lines = source.splitlines(keepends=True)
                cells.append({"cell_type": "code", "source": lines, "metadata": {"tags": [tag]}})
        cells.append({"cell_type": "code", "source": ["raise RuntimeError('must not run')"], "metadata": {}})
        path = tmp_path / "n.ipynb"
        path.write_text(json.dumps({"cells": cells}))
        return path

    return build


def test_grid_of_the_notebooks_own_parameters(notebook):
    assert [experiment.task for experiment in notebook_grid(notebook(), {})] == ["mrpc"]


def test_given_parameters_replace_them(notebook):
    grid = notebook_grid(notebook(), {"tasks": ["rte", "cola"], "profile": "paper"})
    assert [(e.task, e.model) for e in grid] == [("rte", "bert-base-uncased"), ("cola", "bert-base-uncased")]


def test_unknown_parameter(notebook):
    with pytest.raises(ValueError, match="has no parameter task: it has profile, tasks"):
        notebook_grid(notebook(), {"task": "rte"})


def test_unknown_profile(notebook):
    with pytest.raises(ValueError, match="profile 'huge' is unknown: use one of demo, mini, paper"):
        notebook_grid(notebook(), {"profile": "huge"})


def test_notebook_without_a_grid(notebook):
    with pytest.raises(ValueError, match="no cells tagged 'parameters' and 'grid'"):
        notebook_grid(notebook(grid=None), {})
