"""The page's Python runs and prints what it says; its commands are ones that exist, with options that they have."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command
from xtcq_book.__main__ import app as book

from xtcq.__main__ import app as library

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "book" / "you-asked.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


def test_every_question_has_an_answer_in_words_and_something_to_run():
    assert len(SECTIONS) == 16
    for section in SECTIONS:
        title, answer = section.split("\n", 1)
        assert title.endswith("?") and len(answer.split("```")[0].split()) > 12, title
        assert "```bash" in answer or ">>> " in answer, title


def test_the_python_of_the_page_prints_what_it_says():
    result = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 10 and result.failed == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists_with_its_options(command):
    program, *words = shlex.split(command)
    assert program == "python"
    if words[0] == "-m" and words[1] in ("xtcq", "xtcq_book"):
        group = get_command({"xtcq": library, "xtcq_book": book}[words[1]])
        with group.make_context(words[1], words[2:], resilient_parsing=True) as context:
            name, found, rest = group.resolve_command(context, words[2:])
        with found.make_context(name, rest):
            pass
        for path in (word for word in rest if word.startswith("notebooks/")):
            assert (ROOT / path).is_file()
    elif words[:2] == ["-m", "pytest"]:
        assert all((ROOT / folder).is_dir() for folder in words[2:])
    else:
        script, *options = words
        source = (ROOT / script).read_text()
        for option in (word for word in options if word.startswith("--")):
            assert f'"{option}"' in source or f"{option[2:]}: Annotated[" in source, option
