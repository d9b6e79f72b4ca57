from pages.tables import label_tables

SPANNING = """<h2>Results</h2><table border="1"><thead>
<tr><th></th><th></th><th colspan="2">ours</th></tr>
<tr><th>task</th><th>bits</th><th>best</th><th>last</th></tr></thead><tbody>
<tr><th rowspan="2">RTE</th><th>1</th><td>60.1</td><td>59.0</td></tr>
<tr><th>2</th><td>61.2</td><td>61.2</td></tr></tbody></table>"""


def cells(page, text):
    return [cell for cell in page.soup.select("th, td") if cell.get_text() == text]


def test_cells_carry_the_names_of_their_columns_also_behind_a_cell_that_spans_rows(make_page):
    page = make_page(SPANNING)
    label_tables(page)
    assert [cells(page, text)[0]["data-label"] for text in ("60.1", "59.0")] == ["ours, best", "ours, last"]
    assert [cells(page, text)[0]["data-label"] for text in ("RTE", "1", "2")] == ["task", "bits", "bits"]


def test_first_column_is_the_first_place_and_not_the_first_cell_of_a_row(make_page):
    page = make_page(SPANNING)
    label_tables(page)
    assert [cell.get_text() for cell in page.soup.select(".first-column")] == ["", "task", "RTE"]


def test_headers_have_scopes_and_empty_ones_are_none(make_page):
    page = make_page(SPANNING)
    label_tables(page)
    assert cells(page, "")[0].name == "td"
    assert [cells(page, text)[0]["scope"] for text in ("ours", "best", "RTE", "1")] == [
        "colgroup",
        "col",
        "rowgroup",
        "row",
    ]


def test_scroller_has_a_name_and_takes_the_place_of_the_themes(make_page):
    page = make_page(f'<div class="pst-scrollable-table-container">{SPANNING}</div>')
    label_tables(page)
    assert page.soup.select_one("table").parent["class"] == ["table-scroll"]
    assert page.soup.select_one(".table-scroll")["aria-label"] == "Table in “Results”"
    assert not page.soup.select(".pst-scrollable-table-container")


def test_prose_becomes_cards_but_what_a_details_hides_is_not_long(make_page):
    table = "<table><tbody><tr><td>{}</td></tr></tbody></table>"
    page = make_page(
        table.format("word " * 40) + table.format("<details><summary>more</summary>" + "word " * 40 + "</details>")
    )
    label_tables(page)
    assert ["as-cards" in scroll["class"] for scroll in page.soup.select(".table-scroll")] == [True, False]


def test_columns_of_words_are_marked_and_long_ones_get_room(make_page):
    row = "<tr><td>{}</td><td>{}</td><td>{}</td><td>-0.4 [-1.0, 0.2]</td></tr>"
    first = row.format("two words", "84.1", "good reason " * 9)
    rows = first + row.format("three more words", "accuracy", "another reason")
    page = make_page(f"<table><thead>{row.format('name', 'score', 'why')}</thead><tbody>{rows}</tbody></table>")
    label_tables(page)
    assert [cell["class"][-1] for cell in page.soup.select("thead .words")] == ["words", "long"]
    assert len(page.soup.select("tbody .words")) == 4


def test_names_of_the_index_stand_in_the_header_and_not_below_it(make_page):
    head = "<thead><tr><th></th><th></th><th>{}</th></tr><tr><th>task</th><th>bits</th><th>{}</th></tr></thead>"
    row = "<tbody><tr><th>RTE</th><th>1</th><td>60.1</td></tr></tbody>"
    page = make_page(f"<table>{head.format('best', '')}{row}</table><table>{head.format('ours', 'best')}{row}</table>")
    label_tables(page)
    joined, two_levels = page.soup.select("thead")
    assert [cell.get_text() for cell in joined.find_all(["td", "th"])] == ["task", "bits", "best"]
    assert len(two_levels.find_all("tr")) == 2


def test_short_labels_of_a_row_are_not_broken(make_page):
    page = make_page("<table><tbody><tr><th>2-2-8</th></tr><tr><th>published order, unpaired</th></tr></tbody></table>")
    label_tables(page)
    assert ["short" in cell["class"] for cell in page.soup.select(".first-column")] == [True, False]
