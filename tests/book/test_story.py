import json
import math
import re

import pandas as pd
import pytest
from xtcq_book import story

SHORT = "> **In short.** At scale `mini` the gain of a 1-bit student is <!--gain:+.1f-->+0.6<!--/-->."
PARTS = "\n\n".join(f"## {heading}" for heading in story.HEADINGS)
SOLUTION = "<details><summary>Solution</summary>\n\nBecause.\n\n</details>\n"


def prose(id, text, *tags):
    return {"cell_type": "markdown", "id": id, "source": text, "metadata": {"tags": list(tags)}}


def glued(**values):
    outputs = [
        {
            "output_type": "display_data",
            "data": {"application/papermill.record/text/plain": text},
            "metadata": {"scrapbook": {"name": key.replace("_", "-"), "mime_prefix": "application/papermill.record/"}},
        }
        for key, text in values.items()
    ]
    return {"cell_type": "code", "id": "c", "source": "", "metadata": {"tags": ["grid"]}, "outputs": outputs}


@pytest.fixture
def chapter(tmp_path):
    """A function that writes a chapter and its page, and returns what a reader would miss."""

    def write(short=SHORT, rest=PARTS + 2 * SOLUTION, profile="mini", **values):
        template, page = tmp_path / "notebooks" / "lora.ipynb", tmp_path / "executed" / "lora.ipynb"
        cells = [prose("q", "# Title"), prose("s", short, "in-short"), prose("r", rest)]
        for path, content in ((template, cells), (page, [*cells, glued(**(values or {"gain": "0.64"}))])):
            path.parent.mkdir(exist_ok=True)
            metadata = {"papermill": {"parameters": {"profile": profile}}}
            path.write_text(json.dumps({"cells": content, "metadata": metadata}))
        return template, page

    return write


def test_a_sound_chapter(chapter):
    assert list(story.problems(*chapter())) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"short": SHORT.replace("+0.6", "+0.7")}, "s says +0.7 for 'gain', the page +0.6"),
        ({"loss": "1.0"}, "glues no 'gain'"),
        ({"short": SHORT + " That is 0.6 points."}, "typed numbers, 0.6"),
        ({"short": SHORT.replace("<!--gain", "\n> <!--gain")}, "begins with a glued number"),
        ({"profile": "paper"}, "does not name the scale of the page, `paper`"),
        ({"rest": PARTS.replace("## Rerun one row", "") + 2 * SOLUTION}, "no heading «Rerun one row»"),
        ({"rest": PARTS + SOLUTION}, "it has 1 exercises"),
        ({"rest": PARTS + 2 * SOLUTION + "See [](lora)."}, "a link without a text"),
        ({"rest": PARTS + 2 * SOLUTION + "As said {cite}`wu2022`."}, "a role of MyST"),
        ({"rest": PARTS + 2 * SOLUTION + "\n:::{note}\n"}, "a directive of MyST"),
        ({"rest": PARTS + 2 * SOLUTION + "See [there](../distillation.md)."}, "leads nowhere in Colab"),
    ],
)
def test_what_a_reader_would_miss(chapter, changes, problem):
    found = list(story.problems(*chapter(**changes)))
    assert any(problem in sentence for sentence in found), found


def test_names_are_no_typed_numbers(chapter):
    names = " MiniLM-L6 on SST-2 at 2-2-8 and 5e-4, with rank 8 as in Tables C.9 and C.10 and Figure 5."
    assert list(story.problems(*chapter(short=SHORT + names))) == []


def test_code_may_hold_anything(chapter):
    code = "\n\n```bash\necho '[](x) {cite}`y`'\n```\n"
    assert list(story.problems(*chapter(rest=PARTS + 2 * SOLUTION + code))) == []


def test_numbers_are_renewed_from_the_page(chapter):
    template, page = chapter(gain="-1.25")
    assert story.renew(template, page) == 1
    assert "is <!--gain:+.1f-->−1.2<!--/-->." in template.read_text(encoding="utf-8")
    assert list(story.problems(template, page)) == []
    before = template.read_bytes()
    assert story.renew(template, page) == 0 and template.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "how", "text"),
    [
        (1000.0, ",d", "1,000"),
        (-0.4, "+.1f", "−0.4"),
        (3.2, ".0f", "3"),
        (-0.04, "+.1f", "+0.0"),
        (-0.04, ".1f", "0.0"),
        (math.nan, ",d", "nan"),
    ],
)
def test_formats(number, how, text):
    assert story.format_number(number, how) == text


def test_a_value_of_a_table():
    keys = [("mean of 2 tasks: A, B", 2, 8), ("A", 2, 8), ("A", 1, 8)]
    index = pd.MultiIndex.from_tuples(keys, names=["task", "bits", "LoRA rank"])
    table = pd.DataFrame({"difference": [0.5, 1.0, 2.0]}, index)
    assert story.value(table, "difference", task=story.MEAN, LoRA_rank=8) == 0.5
    assert story.value(table, "difference", task="A", bits=1) == 2.0
    assert math.isnan(story.value(table, "difference", task="C"))
    with pytest.raises(ValueError, match=re.escape("2 rows have {'task': 'A'}")):
        story.value(table, "difference", task="A")


def test_a_mean_over_tasks_or_the_only_task():
    keys = [("mean of 2 tasks: A, B", "", 2), ("A", "accuracy", 2), ("A", "f1", 2), ("B", "accuracy", 2)]
    table = pd.DataFrame(
        {"difference": [0.5, 1.0, 2.0, 0.0]}, pd.MultiIndex.from_tuples(keys, names=["task", "metric", "bits"])
    )
    assert story.over_tasks(table, "difference", bits=2) == 0.5
    assert story.over_tasks(table.iloc[1:3], "difference", bits=2) == 1.0
    assert math.isnan(story.over_tasks(table.iloc[1:], "difference", bits=2))
    assert math.isnan(story.over_tasks(table.iloc[:0], "difference", bits=2))
    both = pd.concat([table.iloc[1:3], table.iloc[1:3].rename(index={2: 1})])
    assert math.isnan(story.over_tasks(both, "difference")) and story.over_tasks(both, "difference", bits=1) == 1.0
