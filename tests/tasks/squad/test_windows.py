from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from xtcq.encoder import load_encoder
from xtcq.tasks import encode


def labels(data):
    return [(data[i]["start_positions"], data[i]["end_positions"]) for i in range(len(data))]


def test_a_short_context_is_one_window(question_spec, make_frame, word_tokenizer):
    data = encode(make_frame((5, (1, 3))), question_spec, word_tokenizer)
    assert len(data) == 1 and data.lengths == [10]  # [CLS] w90 w91 [SEP] w0 to w4 [SEP]
    example = data[0]
    tokens = word_tokenizer.convert_ids_to_tokens(example["input_ids"].tolist())
    assert tokens == ["[CLS]", "w90", "w91", "[SEP]", "w0", "w1", "w2", "w3", "w4", "[SEP]"]
    assert example["token_type_ids"].tolist() == [0] * 4 + [1] * 6
    assert tokens[example["start_positions"] : example["end_positions"] + 1] == ["w1", "w2"]


def test_a_long_context_is_cut_into_overlapping_windows(question_spec, make_frame, word_tokenizer):
    # Eleven pieces of context fit; each window begins seven on, so four are shared.
    data = encode(make_frame((25, (8, 10)), (3, (0, 1))), question_spec, word_tokenizer)
    assert data.questions == [0, 0, 0, 1]
    first = [data[i]["input_ids"].tolist()[4] for i in range(3)]
    assert word_tokenizer.convert_ids_to_tokens(first) == ["w0", "w7", "w14"]
    assert data.lengths == [16, 16, 16, 8]
    # w8 and w9 lie whole in the first two windows, and in neither half of them in the third.
    assert labels(data) == [(12, 13), (5, 6), (0, 0), (4, 4)]


def test_an_answer_that_a_window_cuts_is_none_there(question_spec, make_frame, word_tokenizer):
    data = encode(make_frame((25, (9, 13))), question_spec, word_tokenizer)
    assert labels(data) == [(0, 0), (6, 9), (0, 0)]
    # The answer is longer than what windows share, and lies across their border.
    data = encode(make_frame((25, (5, 13))), question_spec, word_tokenizer)
    assert labels(data) == [(0, 0)] * 3


def test_a_question_without_answer_points_at_cls(question_spec, make_frame, word_tokenizer):
    data = encode(make_frame((5, None), (25, None)), replace(question_spec, unanswerable=True), word_tokenizer)
    assert set(labels(data)) == {(0, 0)}


def test_an_answer_inside_a_word_takes_the_pieces_that_it_touches(question_spec):
    tokenizer = load_encoder("minilm-l6", 2)[1]
    context = "Built in 1998-2001 by unbelievably many."
    answers = {"text": ["998-2"], "answer_start": [context.index("998-2")]}
    frame = pd.DataFrame({"question": ["When?"], "context": [context], "answers": [answers]})
    data = encode(frame, replace(question_spec, max_length=32), tokenizer)
    start, end = labels(data)[0]
    assert tokenizer.decode(data[0]["input_ids"][start : end + 1].tolist()).replace(" ", "") == "1998-2001"


@pytest.mark.parametrize("cut", [0, 3])
def test_perfect_logits_score_full_marks(question_spec, make_frame, word_tokenizer, cut):
    frame = make_frame((25, (8, 10)), (5, (0, 5)), (25, (20, 25)), (6, None))
    spec = replace(question_spec, unanswerable=True)
    data = encode(frame, spec, word_tokenizer)
    logits = [np.full((len(data), 16 + cut), -100.0) for _ in range(2)]
    for i, (start, end) in enumerate(labels(data)):
        logits[0][i, start] = logits[1][i, end] = 5.0
    scores, answers = data.evaluate(tuple(logits))
    assert scores == {"f1": 100.0, "exact_match": 100.0}
    assert answers == ["w8 w9", "w0 w1 w2 w3 w4", "w20 w21 w22 w23 w24", ""]
    # Nothing but [CLS]: no answer at all, right for the last question alone.
    for side in logits:
        side[:] = -100
        side[:, 0] = 5
    assert data.evaluate(tuple(logits))[0] == {"f1": 25.0, "exact_match": 25.0}


def test_bad_input_is_named(question_spec, make_frame, word_tokenizer):
    frame = make_frame((5, (1, 3)))
    with pytest.raises(ValueError, match=r"question 0 of task 'squad1' has 9 word pieces, expected at most 8 for seq"):
        encode(frame.assign(question=" ".join(["w1"] * 9)), question_spec, word_tokenizer)
    with pytest.raises(ValueError, match="context of question 0 has no word piece"):
        encode(frame.assign(context="\t"), question_spec, word_tokenizer)
    data = encode(frame, question_spec, word_tokenizer)
    with pytest.raises(ValueError, match=r"logits of shape \(1, at least 10\); got \(1, 9\) and \(1, 9\)"):
        data.evaluate((np.zeros((1, 9)), np.zeros((1, 9))))


def test_a_long_question_is_accepted_up_to_the_limit(question_spec, make_frame, word_tokenizer):
    data = encode(make_frame((12, (5, 7))).assign(question=" ".join(["w1"] * 8)), question_spec, word_tokenizer)
    assert len(data) == 8  # five pieces of context a window, one on each time
    assert {end - start for start, end in labels(data) if start} == {1}


def test_many_questions_keep_their_order(question_spec, make_frame, word_tokenizer, monkeypatch):
    frame = make_frame(*[(5 + 20 * (i % 2), (i % 4, i % 4 + 1)) for i in range(11)])
    whole = encode(frame, question_spec, word_tokenizer)
    monkeypatch.setattr("xtcq.tasks.squad.windows._CHUNK", 4)
    parts = encode(frame, question_spec, word_tokenizer)
    assert parts.questions == whole.questions and labels(parts) == labels(whole)
