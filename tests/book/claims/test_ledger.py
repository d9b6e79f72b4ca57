import pytest
import yaml
from xtcq_book import published
from xtcq_book.claims.ledger import Computed, Found, Spread, Untestable, load_claims

ENTRY = {
    "id": "one-vs-two",
    "claim": "One stage is no worse.",
    "direction": "not less",
    "smallest_effect": 0.3,
    "because": "Seeds move as much.",
    "scale": "BERT-base",
    "chapter": "kd-stages",
    "effect": {"metrics": ["Avg."], "plus": ["xtc-c6 / Skip-6"], "minus": ["xtc-c6 / Top-6"]},
    "test": {
        "where": {"precision": "1-1-8"},
        "length": "A",
        "plus": [{"stages": "one-stage"}],
        "minus": [{"stages": "two-stage"}],
    },
}


@pytest.fixture
def load(tmp_path):
    def load(*entries):
        path = tmp_path / "claims.yaml"
        path.write_text(yaml.safe_dump({"claims": list(entries)}))
        return load_claims(path)

    return load


def test_the_books_ledger_covers_both_papers():
    claims = load_claims()
    assert len(claims) >= 25
    assert {claim.paper for claim in claims} == {published.XTC, published.ADAQAT}
    assert len({claim.id for claim in claims}) == len(claims)
    # A claim leads to its chapter.
    notebooks = {path.stem for path in (published.FOLDER.parents[1] / "notebooks").glob("*.ipynb")}
    assert {claim.chapter for claim in claims} <= notebooks


def test_every_claim_about_learned_widths_pins_the_papers_search():
    """What a setting of the search may be is named once, and no claim leaves one of them open."""
    paper = {f"adaqat.{name}": (value,) for name, value in {
        "ends": False, "lambda_weights": 0.02, "lambda_activations": 0.01, "order": "paper", "counts": "cycles",
        "pressure": "mean", "paired": True, "oscillations": 10,
    }.items()}  # fmt: skip
    searches = {}
    for claim in load_claims():
        selectors = [getattr(claim.test, "where", {}), *getattr(claim.test, "selectors", [])]
        for selector in selectors:
            if "learned" in selector.get("width_source", ()):
                searches[claim.id] = {name: value for name, value in selector.items() if name.startswith("adaqat.")}
    assert len(searches) == 10 and all(search == paper for search in searches.values())


def test_values_are_stored_as_an_experiment_stores_them(load):
    where = {"precision": "1-1-8 1-32-32", "layers": [[1, 3, 5], None], "epochs": 18, "teacher.layers": None}
    (claim,) = load(ENTRY | {"test": ENTRY["test"] | {"where": where}})
    assert claim.test.where == {
        "precision": ("1-1-8",),
        "layers": ((1, 3, 5), None),
        "epochs": (18.0,),
        "teacher.layers": (None,),
    }


def test_over_spells_out_every_combination(load):
    over = {"table": ["xtc-c9", "xtc-c10"], "budget": ["Budget-A", "Budget-B"]}
    effect = {"metrics": ["Avg."], "over": over, "plus": ["{table} / {budget} | Y (DIM=8)"]}
    effect["minus"] = ["{table} / {budget} | N"]
    (claim,) = load(ENTRY | {"effect": effect})
    assert len(claim.effect.cases) == 4
    assert claim.source == "XTC, Table C.9, Table C.10"
    # 81.09-80.81, 81.59-81.37, 82.31-82.14, 82.41-82.51
    assert claim.paper_effect() == pytest.approx((0.28 + 0.22 + 0.17 - 0.10) / 4)


@pytest.mark.parametrize(
    ("direction", "holds", "fails"),
    [("greater", 0.3, 0.29), ("not less", -0.3, -0.31), ("not greater", 0.3, 0.31), ("less", -0.3, -0.29)],
)
def test_directions(load, direction, holds, fails):
    (claim,) = load(ENTRY | {"direction": direction})
    assert claim.holds_at(holds) and not claim.holds_at(fails)


TEST, EFFECT = ENTRY["test"], ENTRY["effect"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # Of a field, its place, its value and what was expected, by pydantic.
        ({"direction": "larger"}, "direction\n  Input should be 'greater', 'not less', .* input_value='larger'"),
        ({"extra": 1}, "extra\n  Unexpected keyword argument"),
        ({"smallest_effect": 0}, "greater than 0"),
        ({"smallest_effect": True}, "a valid number"),
        ({"least_tasks": 0}, "greater than or equal to 1"),
        ({"effect": EFFECT | {"plus": ["Skip-6"]}}, "'Skip-6' is no row; write 'table / row'"),
        ({"effect": EFFECT | {"plus": ["xtc-c99 / Skip-6"]}}, "'xtc-c99 / Skip-6' is no row; .* xtc-c1, xtc-c2"),
        ({"effect": EFFECT | {"plus": ["xtc-c6 / {budget}"]}}, "'xtc-c6 / {budget}' is no row; .* names of 'over'"),
        ({"effect": EFFECT | {"plus": [{"worst": ["xtc-c6 / Skip-6"]}]}}, "Input should be 'best' or 'std'"),
        ({"effect": EFFECT | {"plus": ["adaqat-t1 / *"]}}, "write tables of one paper"),
        ({"effect": {"stated": "Figure 5"}}, "XTC|AdaQAT-BERT"),
        ({"test": TEST | {"length": "D"}}, "or 'any: why"),
        ({"test": {k: v for k, v in TEST.items() if k != "length"}}, "length\n  Field required"),
        ({"test": TEST | {"bitops": 5}}, "less than 1"),
        ({"test": TEST | {"tune": "rate"}}, "Input should be 'learning_rate'"),
        ({"test": TEST | {"minus": [{"stages": "two-stage"}] * 2}}, "pair by pair"),
        ({"test": TEST | {"minus": ["teacher"]}}, "the reason as 'test: {untestable: ...}'"),
        ({"test": TEST | {"plus": ["teacher"], "control": {"precision": "2-2-8"}}}, "belongs into 'minus'"),
        ({"test": TEST | {"plus": ["teacher"], "minus": [{"teacher.layers": None}]}}, "only where all share one"),
        ({"test": TEST | {"plus": ["student"]}}, "or 'teacher' as a term"),
        ({"test": TEST | {"control": {"bits": 2}}}, "'bits' is 2; write a field and value"),
        ({"test": TEST | {"where": {"stages": "1S"}}}, "'stages' is '1S'; .*'one-stage'"),
        ({"test": TEST | {"where": {"adaqat.counts": "all"}}}, "'adaqat.counts' is 'all'; .*'cycles'"),
        ({"test": TEST | {"where": {"learning_rate": "1e-4"}}}, "write 1.0e-4"),
        ({"test": {"computed": "weight"}}, "computed\n  Input should be 'size-ratio-1bit-nominal'"),
        ({"direction": "equal"}, "only what is computed"),
    ],
)
def test_a_malformed_entry_is_named_with_its_remedy(load, change, said):
    with pytest.raises(ValueError, match=rf"claims\.yaml: claim 'one-vs-two': (?s:.*){said.replace('{', '[{]')}"):
        load(ENTRY | change)


def test_a_claim_names_its_length_its_control_arm_and_what_decides_it(load):
    control = {"minus": ["teacher"], "control": {"precision": "2-2-8"}, "length": ["B", "C"]}
    (claim,) = load(ENTRY | {"test": TEST | control, "least_tasks": 1})
    assert claim.test.length == ("B", "C")
    assert claim.test.control == {"precision": ("2-2-8",)}
    assert claim.least_tasks == 1
    (claim,) = load(ENTRY | {"test": TEST | {"length": {"any": "It names none."}}})
    assert claim.test.length == ()
    assert claim.least_tasks == 3


def test_what_is_tested_otherwise(load):
    def test(records, **fields):
        (claim,) = load(ENTRY | {"test": records} | fields)
        return claim.test

    assert test({"untestable": "No such encoder."}) == Untestable("No such encoder.")
    assert test({"computed": "size-ratio-1bit-nominal"}, direction="equal") == Computed("size-ratio-1bit-nominal")
    found = {"where": {"recipe": "adaqat"}, "length": "A", "found": "mean_weights"}
    assert test(found) == Found({"recipe": ("adaqat",)}, "mean_weights", ("A",))
    assert test({"where": {"recipe": "xtc"}, "length": "A", "spread": "seeds"}) == Spread({"recipe": ("xtc",)}, ("A",))


def test_a_claim_in_words(load):
    (claim,) = load(ENTRY | {"effect": {"stated": "AdaQAT-BERT, section 3.3"}})
    assert (claim.paper, claim.source) == ("AdaQAT-BERT", "AdaQAT-BERT, section 3.3")
