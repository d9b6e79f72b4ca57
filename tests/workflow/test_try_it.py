"""The page "Try it" in a headless Chromium: what it loads, what it answers, and how it fails."""

import json
import re
import shutil
from pathlib import Path

import browser_engine
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "book" / "_static" / "try-it"

if not (PAGE / "models.json").is_file():
    pytest.skip("no model is committed for the page", allow_module_level=True)


@pytest.fixture(scope="module")
def book(browser, serve, tmp_path_factory):
    """A folder like that of the rendered book, the page and its static files, and the server that sends it."""
    folder = tmp_path_factory.mktemp("book")
    shutil.copytree(PAGE, folder / "_static" / "try-it")
    try:
        engine = browser_engine.fetch(ROOT / "_build" / f"{browser_engine.PACKAGE}-{browser_engine.VERSION}")
    except browser_engine.EngineError as error:
        pytest.skip(f"the engine cannot be fetched: {error}")
    shutil.copytree(engine, folder / "_static" / "try-it" / "engine")
    (folder / "book").mkdir()
    (folder / "book" / "try-it.html").write_text(
        f"<!doctype html><title>t</title>{(PAGE / 'app.html').read_text(encoding='utf-8')}", encoding="utf-8"
    )
    server = serve(folder)
    server.folder, server.page = folder, f"{server.address}book/try-it.html"
    return server


@pytest.fixture
def page(browser):
    """A page, with the addresses that it asked for and the errors that it met."""
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    opened.asked, opened.errors = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    yield opened
    opened.close()


def status(page, pattern):
    """Wait until the page says so."""
    page.wait_for_function(f"/{pattern}/.test(document.querySelector('.try-it-status').textContent)", timeout=120_000)
    return page.inner_text(".try-it-status")


def test_loads_when_asked_and_answers_as_python_does(book, page):
    expected = json.loads((PAGE / "models.json").read_text(encoding="utf-8"))
    page.goto(book.page)
    before = {url.rsplit("/", 1)[1] for url in page.asked} - {"favicon.ico"}
    assert before == {"try-it.html", "try-it.css", "try-it.js"}
    page.focus(".try-it-load")
    page.keyboard.press("Enter")
    status(page, "word pieces")
    host = book.page.split("/book/")[0]
    assert all(url.startswith((host, "blob:", "data:")) for url in page.asked)
    assert page.evaluate("document.activeElement.id") == "try-it-text"
    for sentence, logits in zip(expected["sentences"], expected["models"][0]["logits"], strict=True):
        page.fill("textarea", sentence)
        page.keyboard.press("Enter")
        page.wait_for_function("!document.querySelector('#try-it').hasAttribute('data-busy')")
        answer, time = (page.inner_text(f"tbody td:nth-child({column})") for column in (2, 3))
        assert answer.startswith(expected["labels"][logits.index(max(logits))]), sentence
        assert re.fullmatch(r"\d+\.\d ms", time)
    page.focus("text=Compare with Python")
    page.keyboard.press("Space")
    said = status(page, "labels are those of Python")
    assert "10 of 10 labels" in said
    assert page.evaluate("document.activeElement.textContent") == "Compare with Python"
    # A value that is rounded to another level moves logits by some hundredths; a wrong graph or text by far more.
    assert float(re.search(r"at most (\d\.\d+)", said)[1]) < 0.1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.errors == []


def test_models_side_by_side(book, page):
    """All others come when they are asked for, and answer as Python does."""
    models = json.loads((PAGE / "models.json").read_text(encoding="utf-8"))["models"]
    page.goto(book.page)
    page.click(".try-it-load")
    status(page, "word pieces")
    for number, model in enumerate(models[1:], start=2):
        assert model["file"] not in {url.rsplit("/", 1)[1] for url in page.asked}
        page.click(f"text=Add {model['precision']}")
        page.wait_for_function(f"document.querySelectorAll('tbody tr').length === {number}", timeout=120_000)
        assert page.inner_text(f"tbody tr:nth-child({number}) th").startswith(model["precision"])
    assert page.locator("text=Add").count() == 0
    asked = [url for url in page.asked if url.endswith(".onnx.gz")]
    assert sorted(url.rsplit("/", 1)[1] for url in asked) == sorted(model["file"] for model in models)
    page.click("text=Compare with Python")
    said = status(page, "labels are those of Python").split("\n")
    assert [line.split(":")[0] for line in said] == [model["precision"] for model in models]
    assert all("10 of 10 labels" in line for line in said)
    # In floating point no value lies between two levels.
    assert all("Logits of 10 are equal" in line for line in said if "fp32" in line)


@pytest.mark.parametrize(
    ("missing", "said"),
    [("WebAssembly", "This browser has no WebAssembly"), ("DecompressionStream", "no DecompressionStream to unpack")],
)
def test_browser_that_lacks_something_is_told_so(missing, said, book, page):
    page.add_init_script(f"delete globalThis.{missing}")
    page.goto(book.page)
    page.click(".try-it-load")
    assert said in status(page, "browser")


def test_page_opened_as_a_file_says_what_to_do(book, page):
    page.goto((book.folder / "book" / "try-it.html").as_uri())
    page.click(".try-it-load")
    assert "python -m http.server" in status(page, "opened as a file")


def test_what_cannot_be_loaded_is_said_and_can_be_tried_again(book, page):
    page.route("**/*.onnx.gz", lambda route: route.fulfill(status=404))
    page.goto(book.page)
    page.click(".try-it-load")
    assert "gives 404" in status(page, "did not work")
    page.unroute("**/*.onnx.gz")
    page.click(".try-it-load")
    status(page, "word pieces")


def test_host_that_says_that_files_are_encoded(book, page, monkeypatch):
    """Then the browser unpacks them before the page sees them."""
    monkeypatch.setattr(book, "encodes", True)
    page.goto(book.page)
    page.click(".try-it-load")
    status(page, "word pieces")
