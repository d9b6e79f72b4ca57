"""Synthetic tasks that the project writes itself, for runs that reach no data.

Three small tasks have the form of GLUE tasks: an acceptability judgement, a paraphrase decision and a similarity
score; a fourth asks questions, as SQuAD does. A grammar of about a hundred English words produces them, so a score says
nothing about a model's command of English; the tasks serve to show how compressed models train, in minutes on a CPU.

Every choice is drawn from ``random.Random.random``, the one method whose sequence Python guarantees for a seed, so the
data are the same everywhere. No sentence occurs twice in a task, so training and evaluation share none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

import pandas as pd

from xtcq.tasks.spec import QuestionSpec, Task, TaskSpec

_Option = TypeVar("_Option")
_Ways = tuple[str, str]
_Meaning = tuple[_Ways, ...]

# Both numbers of each word: (singular, plural); verbs agree with the subject.
_DETERMINERS = (("this", "these"), ("that", "those"), ("a", "many"))
_NOUNS = (
    ("boy", "boys"), ("girl", "girls"), ("doctor", "doctors"), ("teacher", "teachers"), ("farmer", "farmers"),
    ("lawyer", "lawyers"), ("dog", "dogs"), ("horse", "horses"), ("singer", "singers"), ("king", "kings"),
)  # fmt: skip
_VERBS = (
    ("knows", "know"), ("sees", "see"), ("likes", "like"), ("helps", "help"), ("hears", "hear"),
    ("visits", "visit"), ("follows", "follow"), ("wants", "want"), ("meets", "meet"), ("calls", "call"),
)  # fmt: skip
_PREPOSITIONS = ("near", "behind", "with", "beside")

# Two ways to say each thing; entries of different pairs never mean the same.
_QUALITIES = (
    ("happy", "glad"), ("angry", "furious"), ("rich", "wealthy"), ("little", "small"), ("clever", "smart"),
    ("sick", "ill"), ("strange", "odd"), ("quiet", "silent"),
)  # fmt: skip
_PEOPLE = (
    ("doctor", "physician"), ("child", "kid"), ("lawyer", "attorney"), ("woman", "lady"), ("thief", "robber"),
    ("writer", "author"), ("friend", "companion"), ("king", "monarch"), ("cop", "policeman"), ("boss", "manager"),
)  # fmt: skip
_ACTIONS = (
    ("helped", "assisted"), ("watched", "observed"), ("chased", "pursued"), ("hired", "employed"),
    ("found", "discovered"), ("greeted", "welcomed"), ("scared", "frightened"), ("fooled", "tricked"),
    ("saved", "rescued"), ("hit", "struck"),
)  # fmt: skip
_PLACES = (
    ("in the shop", "in the store"), ("near the forest", "near the woods"), ("on the road", "on the street"),
    ("on the boat", "on the ship"), ("in the garden", "in the yard"), ("by the sea", "by the ocean"),
)  # fmt: skip

# Of the questions. A context is two or three sentences, each about another person: who did what, to which thing, where.
_ASKED_PEOPLE = (
    "doctor", "teacher", "farmer", "lawyer", "singer", "king", "sailor", "baker", "painter", "soldier", "judge",
    "thief",
)  # fmt: skip
# Infinitive for questions, past for sentences.
_ASKED_ACTIONS = (
    ("find", "found"), ("buy", "bought"), ("lose", "lost"), ("hide", "hid"), ("sell", "sold"), ("drop", "dropped"),
)  # fmt: skip
_LOOKS = ("red", "old", "small", "heavy", "broken", "golden")
_THINGS = ("coat", "clock", "boat", "book", "lamp", "ring", "drum", "chair", "bottle", "hat")
_ASKED_PLACES = (
    "in the garden", "near the river", "at the market", "behind the church", "on the bridge", "in the kitchen",
    "under the table", "at the station",
)  # fmt: skip

_EVENT = (_QUALITIES, _PEOPLE, _ACTIONS, _PEOPLE)
_PLACED_EVENT = (*_EVENT, _PLACES)


def _pick(rng: Random, options: Sequence[_Option]) -> _Option:
    """Draw one of several."""
    return options[int(rng.random() * len(options))]


def _acceptability(rng: Random, index: int) -> tuple[tuple[str], int]:
    """One sentence; every second one breaks the order of words or the agreement of verb and subject."""

    def noun_phrase(number: int) -> list[str]:
        return [_pick(rng, _DETERMINERS)[number], _pick(rng, _NOUNS)[number]]

    number, verb = _pick(rng, (0, 1)), _pick(rng, _VERBS)
    subject = noun_phrase(number)
    if rng.random() < 0.5:
        # This noun may differ from the subject in number, so the nearest noun does not give agreement away.
        subject += [_pick(rng, _PREPOSITIONS), *noun_phrase(_pick(rng, (0, 1)))]
    words = [*subject, verb[number], *noun_phrase(_pick(rng, (0, 1)))]
    verb_at = len(subject)
    acceptable = index % 2
    if not acceptable:
        fault = _pick(rng, ("agreement", "determiner", "determiner", "verb", "verb"))
        if fault == "agreement":
            words[verb_at] = verb[1 - number]
        elif fault == "determiner":
            at = _pick(rng, (0, verb_at + 1))
            words[at], words[at + 1] = words[at + 1], words[at]
        else:
            moved = words.pop(verb_at)
            words.insert(_pick(rng, (0, len(words))), moved)
    return (" ".join(words) + ".",), acceptable


def _draw(rng: Random, slots: Sequence[Sequence[_Ways]]) -> _Meaning:
    while True:
        meaning = tuple(_pick(rng, slot) for slot in slots)
        if meaning[1] != meaning[3]:
            return meaning


def _change(rng: Random, meaning: _Meaning, slots: Sequence[Sequence[_Ways]], count: int) -> _Meaning:
    """Give `count` of the slots another meaning."""
    while True:
        other = _draw(rng, slots)
        kept = sorted(range(len(slots)), key=lambda _: rng.random())[count:]
        other = tuple(meaning[i] if i in kept else other[i] for i in range(len(slots)))
        if sum(a != b for a, b in zip(meaning, other, strict=True)) == count and other[1] != other[3]:
            return other


def _say(rng: Random, meaning: _Meaning) -> str:
    """Express an event in the active or the passive voice, each part in one of its two ways."""
    quality, agent, action, patient, *place = (_pick(rng, ways) for ways in meaning)
    agent, patient = f"the {quality} {agent}", f"the {patient}"
    clause = [agent, action, patient] if rng.random() < 0.5 else [patient, "was", action, "by", agent]
    return " ".join([*clause, *place]) + "."


def _paraphrase(rng: Random, index: int) -> tuple[tuple[str, str], int]:
    """Two sentences; every second pair means the same, the others change two or three parts or swap the people."""
    first = second = _draw(rng, _EVENT)
    same = index % 2
    if not same:
        quality, agent, action, patient = first
        swap = rng.random() < 0.1
        second = (quality, patient, action, agent) if swap else _change(rng, first, _EVENT, _pick(rng, (2, 3)))
    return (_say(rng, first), _say(rng, second)), same


def _similarity(rng: Random, index: int) -> tuple[tuple[str, str], float]:
    """Two sentences and how many of their five parts mean the same."""
    score = index % 6
    first = _draw(rng, _PLACED_EVENT)
    second = _change(rng, first, _PLACED_EVENT, 5 - score)
    return (_say(rng, first), _say(rng, second)), float(score)


def _question(rng: Random, index: int) -> tuple[tuple[str], str, dict[str, list]]:
    """A context, a question and its answers; every fourth has none, and asks about a person of whom nothing is said."""

    def several(words: tuple[str, ...], count: int) -> list[str]:
        return sorted(words, key=lambda _: rng.random())[:count]

    count = _pick(rng, (2, 3))
    # One person more than the context has: whom a question without an answer asks about.
    people, things, places = several(_ASKED_PEOPLE, count + 1), several(_THINGS, count), several(_ASKED_PLACES, count)
    actions = [_pick(rng, _ASKED_ACTIONS) for _ in range(count)]
    objects = [f"the {_pick(rng, _LOOKS)} {thing}" for thing in things]
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
        asked = _pick(rng, (f"What did the {people[count]} {action}?", f"Where was the {people[count]}?"))
        question, answer = asked, ""
    context = " ".join(sentences)
    starts = [context.index(answer)] if answer else []
    return (context,), question, {"text": [answer] if answer else [], "answer_start": starts}


def _spec(name: str, title: str, columns: tuple[str, ...], num_labels: int, metrics: tuple[str, ...]) -> TaskSpec:
    rows = {"train": 1_200, "validation": 150}
    return TaskSpec(name, title, columns, num_labels, 32, 16, metrics, rows, synthetic=True)


_PAIR = ("sentence1", "sentence2")
_SPECS: tuple[TaskSpec, ...] = (
    _spec("demo-acceptability", "Acceptability (synthetic)", ("sentence",), 2, ("matthews",)),
    _spec("demo-pairs", "Paraphrase (synthetic)", _PAIR, 2, ("accuracy", "f1")),
    _spec("demo-similarity", "Similarity (synthetic)", _PAIR, 1, ("pearson", "spearman")),
    QuestionSpec(
        "demo-questions", "Questions (synthetic)", ("question", "context"), 2, max_length=64, batch_size=8,
        metrics=("f1", "exact_match"), rows={"train": 640, "validation": 80}, synthetic=True, stride=16,
        unanswerable=True, windows=640,
    ),
)  # fmt: skip
DEMO_SPECS: dict[str, TaskSpec] = {spec.name: spec for spec in _SPECS}
# Seed of each task, and what draws an example: texts that must be new, and the rest. Tasks that share a vocabulary
# would share their sentences' order too if they had the same seed.
_GRAMMARS: dict[str, tuple[int, Callable[[Random, int], tuple[Any, ...]]]] = {
    "demo-acceptability": (20_220_603, _acceptability),
    "demo-pairs": (20_220_604, _paraphrase),
    "demo-similarity": (20_220_605, _similarity),
    "demo-questions": (20_220_604, _question),
}


def make_demo_task(name: str) -> Task:
    """Generate a demo task.

    Args:
        name: a key of ``DEMO_SPECS``.

    Returns:
        The task, the same at every call and on every platform. It has 1,200 training and 150 evaluation examples;
        classes are balanced, and so are the six scores of the similarity task. Of questions it has 640 and 80; a
        quarter of them has no answer, and the others ask for the person, the thing and the place equally often.

    >>> from xtcq.tasks.demo import make_demo_task
    >>> make_demo_task("demo-pairs").train["sentence1"][1]
    'the clever king welcomed the writer.'
    """
    spec, (seed, draw) = DEMO_SPECS[name], _GRAMMARS[name]
    rng = Random(seed)
    examples: list[tuple[Any, ...]] = []
    said: set[str] = set()
    while len(examples) < sum(spec.rows.values()):
        texts, *others = draw(rng, len(examples))
        if len(set(texts)) == len(texts) and said.isdisjoint(texts):
            said.update(texts)
            examples.append((*texts, *others))
    if isinstance(spec, QuestionSpec):
        frame = pd.DataFrame(examples, columns=["context", "question", "answers"])
        frame.insert(0, "id", [f"demo-{number}" for number in range(len(frame))])
        frame.insert(1, "title", "demo")
    else:
        frame = pd.DataFrame(examples, columns=[*spec.columns, "label"])
    train, validation = frame[: spec.rows["train"]], frame[spec.rows["train"] :].reset_index(drop=True)
    return Task(spec, train, {"validation": validation})


@functools.cache
def demo_words() -> frozenset[str]:
    """The words of all demo tasks, as they stand between blanks."""
    tasks = [make_demo_task(name) for name in DEMO_SPECS]
    frames = [frame[[*task.spec.columns]] for task in tasks for frame in (task.train, *task.evaluation.values())]
    return frozenset(word for frame in frames for text in frame.to_numpy().flat for word in text.split())
