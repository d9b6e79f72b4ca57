import pytest
from xtcq_book import arithmetic, published
from xtcq_book.chapters import errata

from xtcq.quantization.cost import MIB


@pytest.fixture
def alter(monkeypatch):
    """Change one printed value."""
    return lambda table, *cell, value: monkeypatch.setitem(arithmetic.table(table).cells, cell, value)


def found():
    return set(errata.disagreements().drop(columns="cause").itertuples(index=False, name=None))


def test_the_disagreements_are_the_errata():
    errata = published.errata()
    listed = set(errata.drop(columns="cause").itertuples(index=False, name=None))
    assert len(listed) == len(errata)
    assert found() == listed


def test_every_disagreement_has_a_cause():
    assert errata.disagreements()["cause"].all()


@pytest.mark.parametrize(
    ("table", "row", "metric", "value", "seen_in"),
    [
        ("xtc-c2", "Budget-B | Two-Stage | 1e-4", "MRPC F1", "90.8", "Budget-B | Two-Stage | Best (above)"),
        ("xtc-c16", "MiniLM6 | Budget-B | Three | 111", "QQP F1", "87.66", "MiniLM6 | Budget-B | Three | Ave. above"),
        ("adaqat-t5", "AdaQAT | 8-8 | 4-32-32", "SQuAD v1.1 F1", "90.56", "AdaQAT | 8-8 | 4-4-4"),
    ],
)
def test_a_slip_is_seen_in_what_is_computed_from_it(alter, table, row, metric, value, seen_in):
    before = found()
    alter(table, row, metric, value=value)
    assert (seen_in, metric) in {d[1:3] for d in found() - before}


def place(check):
    return check.table, check.row, check.metric, check.rule


# Of every rule but that of twins, which no single number breaks, one number that it finds right.
RIGHT = {check.rule.partition(":")[0]: check for check in reversed(errata.checks()) if check.agrees}
RIGHT.pop("both measures of another row")


@pytest.mark.parametrize("rule", RIGHT)
def test_every_rule_sees_a_slip(alter, rule):
    """Most see any; a bound sees one to its wrong side."""
    right = RIGHT[rule]
    for factor in (0.5, 1.3, 0.85):
        alter(right.table, right.row, right.metric, value=f"{float(right.printed) * factor:.4f}")
        if place(right) in {place(check) for check in errata.checks() if not check.agrees}:
            return
    pytest.fail("not seen")


def test_a_corrected_slip_leaves_the_list(alter):
    before = found()
    alter("xtc-text", "B.3 | SkipBERT5", "Avg. gain", value="0.29")
    assert {d[:3] for d in before - found()} == {("xtc-text", "B.3 | SkipBERT5", "Avg. gain")}


def test_every_average_and_every_size_is_recomputed():
    done = {(check.table, check.row, check.metric) for check in errata.checks()}
    for name in published.tables():
        frame = published.load(name)
        cells = {(name, row, metric) for row, metric in zip(frame["row"], frame["metric"], strict=True)}
        expected = {
            cell for cell in cells if cell[2] in ("Avg.", "Avg. w/o CoLA", "Embedding size MB", "CR", "Acc. drop")
        }
        if name.startswith("xtc"):
            expected |= {cell for cell in cells if cell[2] in ("Size MB", "Size ratio")}
        assert expected <= done


def test_tolerance_is_what_rounding_explains():
    by_cell = {(c.table, c.row, c.metric, c.rule): c for c in errata.checks()}
    average = by_cell["xtc-c2", "Budget-A | One-Stage | 2e-5", "Avg.", "mean of the row"]
    assert average.recomputed == pytest.approx(723.0 / 9)
    assert average.tolerance == pytest.approx(0.005 + 0.05 * 9**0.5 / 9)
    drop = by_cell["xtc-c8", "XTC-BERT5 | 1", "Acc. drop", "drop from the 32-bit row"]
    assert (drop.recomputed, drop.tolerance) == (pytest.approx(-1.84), pytest.approx(0.005 + 2 * 0.005))
    assert by_cell["xtc-text", "B.3 | SkipBERT4", "Avg. gain", "difference in Table C.14"].agrees  # 0.28 against 0.27


def test_tables_that_drop_trailing_zeros_keep_their_precision():
    seeds = arithmetic.table("xtc-c16")
    assert seeds.cells["SkipBERT6 | Budget-B | Three | 222", "QQP Acc"] == "91"
    assert seeds.half_unit("SkipBERT6 | Budget-B | Three | 222", "QQP Acc") == pytest.approx(0.005)
    assert seeds.half_unit("SkipBERT6 | Budget-B | Three | 222", "CoLA Mcc") == pytest.approx(0.05)


def test_accuracies_are_whole_numbers_of_right_answers():
    table = arithmetic.table("xtc-c3")
    assert table.counted("Budget-C | One-Stage | 2e-5", "MRPC Acc") == pytest.approx(100 * 354 / 408)
    assert table.counted("Budget-C | One-Stage | 2e-5", "RTE Acc") == pytest.approx(100 * 205 / 277)
    assert table.counted("Budget-C | One-Stage | 2e-5", "CoLA Mcc") is None
    # 100 / 5463 is 0.018: every number with one decimal is possible, not every one with two.
    assert table.counted("Budget-C | One-Stage | 2e-5", "QNLI Acc") is None
    assert arithmetic.table("adaqat-t4").counted("QNLI", "QNLI Acc") == pytest.approx(100 * 5011 / 5463)


def test_a_number_that_is_only_known_to_be_wrong_disagrees():
    check = arithmetic.Check("adaqat-t5", "row", "MNLI-m Acc", "84.57", float("nan"), 0.0, "rule")
    assert not check.agrees and check.digits == "another"


def scores(table, row):
    """The printed scores of a row with one decimal; averages and sizes differ for other reasons."""
    cells = arithmetic.table(table)
    skipped = ("Avg.", "Avg. w/o CoLA", "Size MB", "Size ratio", "Acc. drop")
    return {m: round(cells.value(row, m), 1) for m in cells.metrics(row) if m not in skipped}


@pytest.mark.parametrize(
    ("table", "row", "elsewhere"),
    [
        ("xtc-c8", "XTC-BERT6 | 32", ("xtc-c5", "xtc-c7", "xtc-c16")),
        ("xtc-c16", "SkipBERT6 | fp32", ("xtc-c5", "xtc-c7", "xtc-c8")),
    ],
)
def test_a_row_that_is_called_a_run_of_its_own_is_in_no_other_table(table, row, elsewhere):
    for name in elsewhere:
        for other in arithmetic.table(name).rows:
            theirs = scores(name, other)
            same = [theirs[m] == score for m, score in scores(table, row).items() if m in theirs]
            assert same and sum(same) < 8


def test_the_gap_between_the_measures_of_squad_shows_the_misprint():
    gaps = {}
    for name in ("adaqat-t1", "adaqat-t5"):
        cells = arithmetic.table(name)
        for row in (r for r in cells.rows if cells.has(r, "SQuAD v2.0 EM")):
            gaps[name, row] = cells.value(row, "SQuAD v2.0 F1") - cells.value(row, "SQuAD v2.0 EM")
    odd = gaps.pop(("adaqat-t5", "AdaQAT | 2-4 | 4-32-32"))
    assert odd == pytest.approx(1.88) and 77.86 - 74.98 == pytest.approx(1 + odd)
    assert len(gaps) == 14 and min(gaps.values()) == pytest.approx(2.7) and max(gaps.values()) == pytest.approx(3.3)


def test_sizes_and_operations_are_those_of_bert_counted_by_hand(bert):
    base = bert()
    for precision, weight, word, inputs in (("32-32-32", 32, 32, 32), ("1-1-4", 1, 1, 4), ("2-4-4", 2, 4, 4)):
        model, words = arithmetic.adaqat_model(precision), base.embeddings[0]
        rest = base.parameters - base.linears - words
        size = (base.linears * weight + words * word) / 8 + 4 * rest
        assert model["nominal_mib"] * MIB == pytest.approx(size, abs=1)
        assert model["bitops"] == weight * inputs * base.linears
    assert arithmetic.xtc_model(6, 1)["nominal_mib"] == pytest.approx(bert(6).matrices / 8 / MIB)
    text = {check.row: check for check in errata.checks() if check.table == "adaqat-text"}
    assert text["1 | BERT_BASE"].recomputed == pytest.approx(4 * base.parameters / 1e6)
    share = 100 * base.embeddings[0] / sum(base.embeddings)
    assert text["4.4 | token embedding"].recomputed == pytest.approx(share)


def test_the_page_has_every_disagreement_once():
    frames = [errata.errata_frame(paper) for paper in (published.XTC, published.ADAQAT)]
    assert sum(len(rows.split("; ")) for frame in frames for rows in frame["rows"]) == len(errata.disagreements())
    assert frames[0]["place"].iloc[0] == "Table C.3" and frames[0]["place"].iloc[-1] == "text"
