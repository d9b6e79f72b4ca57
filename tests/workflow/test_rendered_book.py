"""The published edition as a reader's browser shows it: every page, on a screen and a phone, in the light and the dark.

All pages are loaded twice, so that each is seen at both widths and in both themes, and those of `SAMPLE` in the two
other combinations as well. What takes longest, the contrast of every text, is measured in the dark on all pages, and in
the light on the sample.
"""

import json
import os
import re
from pathlib import Path

import browser_engine
import pytest
import render
from filelock import FileLock

ROOT = Path(__file__).parents[2]
SCREEN, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SAMPLE = ("index", "try-it", "quantizers", "references", "kd-stages", "claims", "errata", "search")
# Bytes as they lie on the disk, without MathJax. A host that compresses sends a quarter of that.
HEAVIEST = 1_500_000
MOST_ROWS = 20
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


@pytest.fixture(scope="module")
def html(browser, tmp_path_factory):
    """The folder of the published edition, rendered once for all processes that test side by side, if they can look."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    repository = shared / "rendered"
    with FileLock(shared / "rendered.lock"):
        if not repository.exists():
            repository.mkdir()
            for part in ("book", "xtcq", "notebooks", "_toc.yml", "_config.yml"):
                (repository / part).symlink_to(ROOT / part)
            source = render.stage(repository, "published")
            browser_engine.build_in(source, cache=ROOT / "_build")
            render.build(repository, source)
    return repository / "_build" / "html"


@pytest.fixture(scope="module")
def served(html, serve):
    """The address under which the book is served."""
    return serve(html).address


@pytest.fixture
def open_page(browser):
    """Opens a page and returns it with what it said to the console, `said`, and what it asked for, `asked`."""
    contexts = {}

    def start(address, viewport=SCREEN, scheme="light"):
        key = (viewport["width"], scheme)
        if key not in contexts:
            contexts[key] = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=viewport is PHONE)
            contexts[key].set_default_timeout(120_000)
        page = contexts[key].new_page()
        page.said, page.asked = [], []
        page.on("console", lambda told: page.said.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("requestfailed", lambda request: page.said.append(f"failed: {request.url}"))
        page.on(
            "response", lambda answer: page.said.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else 0
        )
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        # Formulas are set after the page has loaded.
        page.evaluate("() => window.MathJax?.startup?.promise")
        return page

    yield start
    for context in contexts.values():
        context.close()


def names(html):
    frames = [path for path in html.rglob("*.html") if 'id="main-content"' in path.read_text(encoding="utf-8")]
    return sorted(path.relative_to(html).as_posix() for path in frames)


SEEN = """(most) => {
  const shown = (part) => part.getClientRects().length > 0;
  const found = [];
  if (document.scrollingElement.scrollWidth > innerWidth) found.push("wider than the window");
  for (const image of document.images)
    if (shown(image) && !(image.complete && image.naturalWidth)) found.push(`missing image ${image.src}`);
  for (const image of document.querySelectorAll("article img:not([alt])")) found.push(`without alt: ${image.src}`);
  for (const table of document.querySelectorAll("article table")) {
    const rows = [...table.querySelectorAll(":scope > tbody > tr")].filter(shown);
    if (rows.length > most) found.push(`a table of ${rows.length} rows is unfolded`);
    const first = table.querySelector(".first-column");
    const wide = table.parentElement.scrollWidth > table.parentElement.clientWidth + 1;
    if (shown(table) && wide && !(first && getComputedStyle(first).position === "sticky"))
      found.push(`a table is ${table.parentElement.scrollWidth} wide and its first column does not stay`);
  }
  for (const formula of document.querySelectorAll("article .math"))
    if (shown(formula) && !formula.querySelector("mjx-container")) found.push(`not set: ${formula.textContent}`);
  return found;
}"""


def problems(page, html, served, contrast=True):
    """What is wrong with a page that was opened."""
    found = [*page.said, *page.evaluate(SEEN, MOST_ROWS)]
    outside = [url for url in page.asked if not url.startswith((served, "data:", "blob:"))]
    found += [f"outside: {url}" for url in outside]
    files = {html / url.removeprefix(served).split("?")[0] for url in page.asked if url.startswith(served)}
    weight = sum(file.stat().st_size for file in files if file.is_file() and "mathjax" not in file.parts)
    if weight > HEAVIEST:
        found.append(f"{weight:,} bytes are loaded")
    options = {"runOnly": RULES, "preload": False, "rules": {"color-contrast": {"enabled": contrast}}}
    for violation in axe.Axe().run(page, options=options).response["violations"]:
        found += [f"axe, {violation['id']}: {node['html'][:120]}" for node in violation["nodes"][:3]]
    return found


@pytest.mark.parametrize(
    ("viewport", "scheme", "sample"),
    [(SCREEN, "light", None), (PHONE, "dark", None), (SCREEN, "dark", SAMPLE), (PHONE, "light", SAMPLE)],
    ids=["screen-light", "phone-dark", "screen-dark", "phone-light"],
)
def test_pages(viewport, scheme, sample, html, served, open_page):
    chosen = [name for name in names(html) if sample is None or Path(name).stem in sample]
    assert len(chosen) >= (30 if sample is None else len(SAMPLE))
    found = {}
    for name in chosen:
        page = open_page(served + name, viewport, scheme)
        if wrong := problems(page, html, served, contrast=scheme == "dark" or sample is not None):
            found[name] = wrong
        page.close()
    assert not found, json.dumps(found, indent=1, ensure_ascii=False)


@pytest.mark.parametrize("opened", ["served", "as files"])
def test_search_finds_words_and_shows_sentences(opened, html, served, open_page):
    folder = served if opened == "served" else f"{html.as_uri()}/"
    titles = {}
    for question in ("1-1-8", "ternary", "oscillations"):
        page = open_page(f"{folder}search.html?q={question}")
        page.wait_for_selector("#search-results mark")
        assert page.said == [] and all(url.startswith((folder, "data:")) for url in page.asked)
        assert question in page.inner_text("#search-results mark >> nth=0").lower()
        # Sentences around the word, where some page has any, and no names of buttons.
        snippets = page.locator("#search-results p:has(mark)").all_inner_texts()
        assert question == "1-1-8" or any(re.search(r"([A-Za-z,’-]+ ){4}", snippet) for snippet in snippets[:5])
        assert not any("Repository" in snippet for snippet in snippets)
        titles[question] = page.locator("#search-results h2").all_inner_texts()
    assert "Distillation in one, two or three stages" in titles["1-1-8"][:6]
    assert "How weights and activations are quantized" in titles["ternary"][:6]
    assert "Bit-widths that are learned" in titles["oscillations"][:6]
    page.click("#search-results h2 a >> nth=0")
    page.wait_for_selector("article h1")
    page.goto(f"{folder}search.html?q=xyzzyx")
    assert "Nothing" in page.inner_text(".search-count")


def test_folder_opened_without_a_server(html, open_page):
    page = open_page((html / "book" / "quantizers.html").as_uri())
    assert page.said == []
    assert page.locator("article mjx-container").count() > 10
    assert all(url.startswith((html.as_uri(), "data:")) for url in page.asked)
    assert page.evaluate(
        "[...document.fonts].some((font) => font.family.startsWith('MJX') && font.status === 'loaded')"
    )


def test_what_a_link_leads_to_is_shown_before_it_is_followed(served, open_page):
    page = open_page(served + "book/index.html")
    page.locator("article a[href*='references.html#']").first.focus()
    assert "Extreme compression for pre-trained transformers" in page.inner_text(".preview.show")


def test_folded_table_unfolds(html, served, open_page):
    folded = 0
    for name in names(html):
        if '<td class="data row21 ' not in (html / name).read_text(encoding="utf-8").replace('id="', ""):
            continue
        page = open_page(served + name)
        for button in page.locator(".unfold:visible").all()[:2]:
            folded += 1
            hidden = page.locator("article tbody tr[hidden]").count()
            button.click()
            assert page.locator("article tbody tr[hidden]").count() < hidden
            assert button.get_attribute("aria-expanded") == "true"
    assert folded


def test_models_answer_as_python_does(html, served, open_page):
    """The labels are those that `python workflow/browser_model.py DIGEST ...` wrote beside the models."""
    expected = json.loads((html / "_static/try-it/models.json").read_text(encoding="utf-8"))
    if not (html / "_static/try-it/engine").is_dir():
        pytest.skip("the engine could not be fetched when the book was rendered")
    page = open_page(served + "book/try-it.html")
    page.click(".try-it-load")
    page.wait_for_selector("#try-it form:not([hidden])")
    for model in expected["models"][1:]:
        page.click(f"text=Add {model['precision']}")
        page.wait_for_selector(f"#try-it tbody th:has-text('{model['precision']}')")
    for i, sentence in enumerate(expected["sentences"]):
        page.fill("#try-it textarea", sentence)
        page.press("#try-it textarea", "Enter")
        page.wait_for_function("!document.querySelector('#try-it').hasAttribute('data-busy')")
        answers = page.locator("#try-it tbody td:nth-child(2)").all_inner_texts()
        labels = [expected["labels"][max((0, 1), key=model["logits"][i].__getitem__)] for model in expected["models"]]
        assert [answer.split(",")[0] for answer in answers] == labels, sentence
    assert page.said == [] and all(url.startswith((served, "data:", "blob:")) for url in page.asked)
