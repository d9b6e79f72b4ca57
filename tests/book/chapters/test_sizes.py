import dataclasses

import pytest
from xtcq_book.arithmetic import MIB
from xtcq_book.chapters import cost, errata, sizes

from xtcq.study import load_profile


@pytest.fixture(scope="module")
def printed():
    return sizes.printed_sizes()


def test_every_printed_size_is_computed_again(printed, bert):
    assert len(printed) == 17 and not printed.index.duplicated().any()
    row = printed.loc[(6, 1, 0)]
    assert (row["tables"], row["printed"], row["printed ratio"]) == ("C.8, C.15", 8.0, 52.3)
    assert row["nominal"] == pytest.approx(bert(6).matrices / 8 / MIB)
    assert row["printed - nominal"] == pytest.approx(8.0 - row["nominal"])
    full = printed.loc[(6, 32, 0)]
    assert full["packed"] == pytest.approx(4 * bert(6).parameters / MIB)
    assert full["packed ratio"] == pytest.approx(bert(12).parameters / bert(6).parameters)


def test_the_rule_behind_a_size_is_found(printed):
    rules = printed["rule"].to_dict()
    assert rules[12, 1, 0] == rules[4, 2, 0] == "matrices at their bits"
    assert rules[12, 2, 0] == "none; the ratio 16.0 fits the computed size: a misprint"
    # 15.948 rounds to 15.9, and 14.525 to 14.5.
    assert rules[6, 2, 0] == "twice the printed 8.0" and rules[5, 2, 1] == "twice the printed 7.3"
    # A LoRA weight takes 2 bytes here, which gives 8.132 MiB, and 4 bytes there, which gives 12.784.
    assert rules[6, 1, 1] == rules[4, 2, 1] == "matrices at their bits"


def test_the_nominal_size_counts_lora_by_the_reading_that_gives_most_printed_numbers(printed, bert):
    """Sizes of LoRA by hand: 13,824 weights a layer at rank 1."""
    readings = sizes.lora_readings(printed)
    fitting = readings["all"].str.partition(" of ")[0].astype(int)
    assert readings.columns.to_list() == ["sizes, 1 bit", "ratios, 1 bit", "sizes, 2 bits", "ratios, 2 bits", "all"]
    assert fitting.to_dict() == {"2 bytes": 4, "4 bytes": 3, "2 bytes at 1 bit, 4 bytes at 2 bits": 7}
    assert readings.loc["4 bytes"].to_list() == ["0 of 3", "0 of 2", "1 of 3", "2 of 2", "3 of 10"]
    # What this reading misses is twice a number that was rounded before.
    assert printed.loc[(5, 2, 1), "printed"] == 2 * printed.loc[(5, 1, 1), "printed"]
    assert printed.loc[(6, 2, 1), "printed"] == 2 * printed.loc[(6, 1, 1), "printed"]
    assert printed.loc[(4, 1, 1), "printed ratio"] == 2 * printed.loc[(4, 2, 1), "printed ratio"]
    for layers in (6, 5, 4):
        for bits, width in ((1, 2), (2, 4)):
            size = bert(layers).matrices * bits / 8 + width * 13_824 * layers
            assert printed.loc[(layers, bits, 1), "nominal"] == pytest.approx(size / MIB)


def test_errata_and_page_have_the_same_computed_sizes(printed):
    nominal = {f"{size:.3f}" for size in printed["nominal"]}
    listed = {d.recomputed for d in errata.disagreements().itertuples() if d.rule == "matrices at their bits, MiB"}
    assert len(listed) > 3 and listed <= nominal
    assert {row["printed"] for _, row in printed[printed["rule"] != "matrices at their bits"].iterrows()} == {
        float(d.printed) for d in errata.disagreements().itertuples() if d.rule == "matrices at their bits, MiB"
    }


def test_sentences_on_sizes(printed):
    text = sizes.findings(printed).data
    follows = [rule for rule in printed["rule"] if rule.startswith("matrices")]
    assert f"- {len(follows)} of 17 printed sizes are every matrix" in text
    assert "26.8 (12 layers, 2 bits, LoRA rank 0) follows no rule: 26.1 is computed" in text
    assert "The largest gap is 12 layers at 1 bit: 17.3 MiB where 13.0 is printed." in text
    assert "4 layers at 1 bit, takes 10.2 MiB, 41 times less than BERT-base, where 66.4 is printed." in text


def test_contradicting_tables_are_refused(monkeypatch):
    found = [("xtc-c8", "XTC-BERT6 | 1", 6, 1, False), ("xtc-c8", "XTC-BERT6 | 2", 6, 1, False)]
    monkeypatch.setattr(sizes, "printed_configurations", lambda: iter(found))
    with pytest.raises(ValueError, match="16.0 MB is printed, and 8.0"):
        sizes.printed_sizes()


def test_our_students_stand_with_the_best_of_their_plans_and_rates(make_record):
    mini = load_profile("mini")

    def record(score, experiment, packed):
        values = {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}
        found = make_record(score, **values)
        return dataclasses.replace(found, size=found.size | {"packed_mib": packed})

    def student(score, packed=4.0, **fields):
        fixed = {"precision": "1-1-8", "stages": "one-stage"}
        return record(score, mini.student("mrpc", **fixed | fields), packed)

    records = [
        record(84.0, mini.teacher("mrpc"), 86.0),
        # The best single run belongs to the worse rate.
        student(70.0, learning_rate=1e-4, seed=1),
        student(76.0, learning_rate=1e-4, seed=2),
        student(90.0, learning_rate=5e-4, seed=1),
        student(50.0, learning_rate=5e-4, seed=2),
        student(71.0, stages="two-stage", learning_rate=1e-4, seed=1),
        student(60.0, packed=3.0, precision="1-1-8", layers=(1, 3, 5)),
        # Trained on labels, but no level to compare with.
        student(77.0, packed=5.0, precision="2-4-4", recipe="adaqat", stages="finetune", teacher=None),
    ]
    table = sizes.students(cost.to_frame(records))
    assert table.index.names == ["task", "layers", "W-E-A", "recipe", "LoRA rank", "steps"]
    assert table["packed MiB"].to_list() == [3.0, 4.0, 5.0, 86.0]
    row = table.loc[("MRPC", "all 6", "1-1-8", "xtc", 0, 10)]
    assert (row["best"], row["of"], row["minus teacher"]) == (73.0, 3, -11.0)
    # A task without its teacher's Record has no difference.
    assert sizes.students(cost.to_frame(records[1:]))["minus teacher"].isna().all()
    assert sizes.students(cost.to_frame([])).empty


def test_embedding_tables_of_the_second_paper():
    tables = sizes.embedding_tables()
    assert len(tables) == 9 and tables.index.is_unique
    words, segments, positions = 30_522, 2, 512
    for widths, row in tables.iterrows():
        token, segment, position = map(int, widths.split("-"))
        bits = token * words + segment * segments + position * positions
        assert row["BERT-base"] == pytest.approx(768 * bits / 8e6)
        assert row["MiniLM-L6"] == pytest.approx(384 * bits / 8e6)
        assert row["CR"] == pytest.approx(32 * (words + segments + positions) / bits)
        assert abs(row["printed"] - row["BERT-base"]) < 0.03
