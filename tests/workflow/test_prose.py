import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from prose import for_the_book

ADDRESS = "https://github.com/a/b"


def shown(*cells):
    notebook = new_notebook(cells=list(cells))
    for_the_book(notebook, ADDRESS)
    return notebook.cells


@pytest.mark.parametrize(
    ("target", "within"),
    [
        ("blob/main/notebooks/kd-stages.ipynb", "kd-stages.ipynb"),
        ("blob/main/book/quantizers.md", "../quantizers.md"),
        ("blob/main/book/quantizers.md#one-bit", "../quantizers.md#one-bit"),
        ("blob/main/book/claims.yaml", f"{ADDRESS}/blob/main/book/claims.yaml"),
    ],
)
def test_links_to_pages_stay_in_the_book(target, within):
    (cell,) = shown(new_markdown_cell(f"See [there]({ADDRESS}/{target})."))
    assert cell.source == f"See [there]({within})."


def test_a_badge_stays_a_link_to_colab():
    badge = "[![Open in Colab](https://x/badge.svg)](https://colab.research.google.com/github/a/b/blob/main/notebooks/c.ipynb)"
    assert shown(new_markdown_cell(badge))[0].source == badge


def test_the_short_answer_becomes_a_box():
    text = "> **In short.** It holds.\n> By <!--a:d-->3<!--/--> points."
    (cell,) = shown(new_markdown_cell(text, metadata={"tags": ["in-short"]}))
    assert cell.source == ":::{admonition} In short\n:class: tip\nIt holds.\n\nBy <!--a:d-->3<!--/--> points.\n:::"


def test_a_solution_becomes_a_box_that_opens():
    text = "Why?\n\n<details><summary>Solution</summary>\n\n```python\n1\n```\n\nSo.\n\n</details>\n\nNext."
    (cell,) = shown(new_markdown_cell(text))
    box = "::::{admonition} Solution\n:class: dropdown\n```python\n1\n```\n\nSo.\n::::"
    assert cell.source == f"Why?\n\n{box}\n\nNext."


def test_what_stands_before_the_first_result_is_folded():
    tagged = [["parameters"], ["injected-parameters"], ["grid", "hide-input"], ["method"]]
    said = [new_output("stream", text="All cells were run.")]
    runs = new_code_cell("runs = gather(grid, train)", metadata={"tags": ["hide-input"]}, outputs=said)
    cells = shown(runs, *(new_code_cell("1", metadata={"tags": tags}) for tags in tagged))
    assert [set(cell.metadata.tags) for cell in cells] == [
        {"remove-input"},
        {"parameters", "hide-input"},
        {"injected-parameters", "hide-input"},
        {"grid", "hide-cell"},
        {"method"},
    ]


def test_the_parameters_stand_where_a_row_is_run_again():
    parameters = new_code_cell("profile: str = 'demo'", metadata={"tags": ["parameters"]})
    grid = new_code_cell("grid = []", metadata={"tags": ["grid", "hide-input"]})
    texts = ["# A", "## Parameters and grid\n\nWhat they are.", "## Result", "## Rerun one row", "## Exercises"]
    title, heading, result, again, exercises = map(new_markdown_cell, texts)
    found = shown(title, heading, parameters, grid, result, again, exercises)
    assert found == [title, result, heading, parameters, grid, again, exercises]
    # A page that only lists what others measured has them at its end.
    assert shown(title, heading, parameters, result) == [title, result, heading, parameters]


def test_folded_code_without_a_result_is_not_shown():
    drawn = new_code_cell("show(table)", outputs=[new_output("stream", text="3")])
    silent = new_code_cell("table = 3")
    for cell in (drawn, silent):
        cell.metadata.tags = ["hide-input"]
    assert [cell.metadata.tags for cell in shown(drawn, silent)] == [["hide-input"], ["remove-cell"]]
