import json

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from xtcq import Experiment, load_packed, save_packed
from xtcq.__main__ import app
from xtcq.study import runs, students


@pytest.fixture
def pack(small_world, tmp_path):
    """The command, in the small world."""

    def call(experiments, *options):
        (tmp_path / "e.json").write_text(json.dumps(experiments))
        return CliRunner().invoke(app, ["pack", str(tmp_path / "e.json"), str(tmp_path / "out" / "model"), *options])

    return call


def test_a_trained_student_is_packed_with_its_scores(pack, tmp_path, padded_batch):
    experiment = Experiment(task="mrpc", epochs=1, learning_rate=1e-3, precision="1-1-8", evaluations=1)
    result = pack(experiment.to_dict())
    assert result.exit_code == 0, result.output
    model, _ = students.load_student(experiment)
    loaded = load_packed(tmp_path / "out" / "model")
    assert loaded(**padded_batch).logits.equal(model(**padded_batch).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "out" / "model")("w1")["input_ids"]
    text = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "license: apache-2.0" in text and "sentence-transformers/all-MiniLM-L6-v2" in text
    best = runs.run(experiment).best
    assert f"| accuracy | {best['accuracy']:.1f} |" in text

    halved = pack(experiment.to_dict(), "--rest", "fp16")
    assert halved.exit_code == 0 and "MiB" in halved.stdout
    assert "in fp16" in (tmp_path / "out" / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("experiments", "options", "message"),
    [
        ({"task": "mrpc", "epochs": 1, "learning_rate": 1e-3}, (), "is not quantized, so nothing can be packed"),
        ([{"task": "mrpc", "epochs": 1, "learning_rate": 1e-3}] * 2, (), "holds 2 experiments, expected one"),
    ],
)
def test_errors_are_one_line(pack, tmp_path, experiments, options, message):
    result = pack(experiments, *options)
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_labels_are_renamed_by_a_command(frozen_bert, tmp_path):
    folder = str(save_packed(frozen_bert(num_labels=2), tmp_path / "m"))
    result = CliRunner().invoke(app, ["rename-labels", folder, "bad", "good"])
    assert result.exit_code == 0 and result.stdout.splitlines() == ["LABEL_0 -> bad", "LABEL_1 -> good"]
    assert load_packed(folder).config.id2label == {0: "bad", 1: "good"}
    result = CliRunner().invoke(app, ["rename-labels", folder, "bad"])
    assert (
        result.exit_code == 1
        and "expected a name of its own for each of 0 to 1: in the order of ['bad', 'good']" in result.stderr
    )
