"""The page of the public face holds what the library exports, no more and no less."""

import re
from pathlib import Path

import xtcq

BOOK = Path(__file__).parents[2] / "book"
ROWS = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", (BOOK / "api.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_public_name_has_one_row():
    assert sorted(name for name, _ in ROWS) == sorted(xtcq.__all__)


def test_a_row_leads_to_a_page_that_there_is():
    for name, where in ROWS:
        targets = re.findall(r"\]\(([^)]+)\)", where)
        assert targets, name
        for target in targets:
            page = BOOK / target
            template = BOOK.parent / "notebooks" / page.name  # a page is executed from it
            assert target == "precision-notation" or template.exists() or page.exists(), f"{name}: {target}"


def test_the_methods_pages_link_to_it():
    for page in ("quantizers", "distillation", "bit-widths", "packed-format"):
        assert "](api.md)" in (BOOK / f"{page}.md").read_text(encoding="utf-8"), page
