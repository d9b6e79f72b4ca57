"""Synthetic questions that the project writes itself, for runs that reach no data.

A context is two or three sentences, each about another person: who did what, to which thing, where. A question asks
for one of these; every fourth asks about a person of whom the context says nothing, and has no answer. As in
`xtcq.tasks.demo`, a grammar of few words makes them, so a score says nothing about a model's command of English.
"""

from random import Random

import pandas as pd

from xtcq.tasks.demo import pick
from xtcq.tasks.spec import QuestionSpec, Task

_PEOPLE = (
    "doctor", "teacher", "farmer", "lawyer", "singer", "king", "sailor", "baker", "painter", "soldier", "judge",
    "thief",
)  # fmt: skip
# Infinitive for questions, past for sentences.
_ACTIONS = (
    ("find", "found"),
    ("buy", "bought"),
    ("lose", "lost"),
    ("hide", "hid"),
    ("sell", "sold"),
    ("drop", "dropped"),
)
_QUALITIES = ("red", "old", "small", "heavy", "broken", "golden")
_THINGS = ("coat", "clock", "boat", "book", "lamp", "ring", "drum", "chair", "bottle", "hat")
_PLACES = (
    "in the garden", "near the river", "at the market", "behind the church", "on the bridge", "in the kitchen",
    "under the table", "at the station",
)  # fmt: skip

DEMO_QUESTIONS = QuestionSpec(
    "demo-questions",
    "Questions (synthetic)",
    ("question", "context"),
    num_labels=2,
    max_length=64,
    batch_size=16,
    metrics=("f1", "exact_match"),
    rows={"train": 640, "validation": 160},
    synthetic=True,
    stride=16,
    unanswerable=True,
    windows=640,
)


def make_demo_questions() -> Task:
    """Generate the task.

    Returns:
        640 training and 160 evaluation questions with the columns of `xtcq.tasks.squad.checked_questions`, the same
        at every call and on every platform. No context occurs twice. A quarter of the questions has no answer; the
        others ask for the person, the thing and the place equally often.
    """
    rng = Random(20_220_604)
    rows: list[tuple[str, str, str, str, dict[str, list[object]]]] = []
    said: set[str] = set()
    while len(rows) < sum(DEMO_QUESTIONS.rows.values()):
        context, question, answer = _ask(rng, len(rows))
        if context not in said:
            said.add(context)
            answers = {"text": [answer], "answer_start": [context.index(answer)]}
            nothing: dict[str, list[object]] = {"text": [], "answer_start": []}
            rows.append((f"demo-{len(rows)}", "demo", context, question, answers if answer else nothing))
    frame = pd.DataFrame(rows, columns=["id", "title", "context", "question", "answers"])
    train = DEMO_QUESTIONS.rows["train"]
    return Task(DEMO_QUESTIONS, frame[:train], {"validation": frame[train:].reset_index(drop=True)})


def _ask(rng: Random, index: int) -> tuple[str, str, str]:
    """A context, a question and its answer, "" for none."""

    def several(words: tuple[str, ...], count: int) -> list[str]:
        return sorted(words, key=lambda _: rng.random())[:count]

    count = pick(rng, (2, 3))
    # One person more than the context has: whom a question without an answer asks about.
    people, things, places = several(_PEOPLE, count + 1), several(_THINGS, count), several(_PLACES, count)
    actions = [pick(rng, _ACTIONS) for _ in range(count)]
    objects = [f"the {pick(rng, _QUALITIES)} {thing}" for thing in things]
    sentences = [
        f"The {person} {past} {thing} {place}."
        for person, (_, past), thing, place in zip(people[:count], actions, objects, places, strict=True)
    ]
    about = int(rng.random() * count)
    action, past = actions[about]
    kind = index % 4
    if kind == 0:
        question, answer = f"Who {past} {objects[about]}?", f"The {people[about]}"
    elif kind == 1:
        question, answer = f"What did the {people[about]} {action}?", objects[about]
    elif kind == 2:
        question, answer = f"Where did the {people[about]} {action} {objects[about]}?", places[about]
    else:
        asked = pick(rng, (f"What did the {people[count]} {action}?", f"Where was the {people[count]}?"))
        question, answer = asked, ""
    return " ".join(sentences), question, answer
