"""SQuAD as the papers train it, and two tasks that are made of its validation splits.

Batch size, length and stride of SQuAD v1.1 and v2.0 are those of AdaQAT-BERT, Table 6, and of TernaryBERT's script,
which it follows (huawei-noah/Pretrained-Language-Model, `TernaryBERT/quant_task_squad.py`; the stride is given there
alone). Row counts are the official ones of `rajpurkar/squad` and `rajpurkar/squad_v2`. F1 selects the best checkpoint,
as in AdaQAT-BERT's public code (cgernigon/AdaQAT, `quant_task_squad.py`).

`squad-articles` and `squad2-articles` are no SQuAD: for readers without SQuAD's training split, they train on most
articles of its validation split and evaluate on the others, so their scores stand beside no published score. Titles
are sorted, and every eighth is held out: no article, and so no paragraph, is in both parts. That is 42 articles and 6
of v1.1, and 31 and 4 of v2.0.

Their sequences are shorter, for encoders of MiniLM's size. With the vocabulary of bert-base-uncased, question and
context fit 256 word pieces for 89 % of v1.1's validation questions and 88 % of v2.0's; of the others all answers lie
whole in some window. Shorter sequences save nothing: at 192 pieces an epoch has a tenth more of them in all, since more
contexts are read twice.
"""

from xtcq.tasks.spec import QuestionSpec

_METRICS = ("f1", "exact_match")
_COLUMNS = ("question", "context")

# Rows of the releases.
RELEASES = {
    "squad": {"train": 87_599, "validation": 10_570},
    "squad_v2": {"train": 130_319, "validation": 11_873},
}
_HELD_OUT = 8


def _squad(name: str, title: str, release: str, rows: dict[str, int], **fields: object) -> QuestionSpec:
    return QuestionSpec(
        name, title, _COLUMNS, 2, rows=rows, metrics=_METRICS, batch_size=16, release=release,
        unanswerable=release == "squad_v2", **fields,
    )  # fmt: skip


_SPECS = (
    _squad("squad1", "SQuAD v1.1", "squad", RELEASES["squad"], max_length=384, stride=128),
    _squad("squad2", "SQuAD v2.0", "squad_v2", RELEASES["squad_v2"], max_length=384, stride=128),
    _squad(
        "squad-articles",
        "SQuAD v1.1 validation, by article",
        "squad",
        {"train": 9_488, "validation": 1_082},
        max_length=256,
        stride=64,
        held_out=_HELD_OUT,
        windows=10_695,
    ),
    _squad(
        "squad2-articles",
        "SQuAD v2.0 validation, by article",
        "squad_v2",
        {"train": 10_300, "validation": 1_573},
        max_length=256,
        stride=64,
        held_out=_HELD_OUT,
        windows=11_711,
    ),
)

SQUAD_SPECS: dict[str, QuestionSpec] = {spec.name: spec for spec in _SPECS}
