"""What Records say about a claim: the pairs that differ only in what the claim compares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from math import ceil
from statistics import fmean, pstdev
from typing import Any

from xtcq.study.experiment import Experiment
from xtcq.study.ledger import READINGS, TEACHER, Contrast, Selector, Spread
from xtcq.study.records import Record
from xtcq.tasks import task_spec

LEAST_VALUES = 2
LEAST_SEEDS = 3
LEAST_TASKS = 2


@dataclass(frozen=True)
class Pair:
    """One observation of an effect: the unit that the bootstrap draws.

    Attributes:
        model: the encoder.
        tasks: one task; for a spread, those that were averaged.
        seeds: one seed; for a spread, those that were compared.
        epochs: lengths of the plans that were compared.
        effect: in points.
    """

    model: str
    tasks: frozenset[str]
    seeds: frozenset[int]
    epochs: frozenset[float]
    effect: float


def find_pairs(test: Contrast | Spread | None, records: Sequence[Record]) -> list[Pair]:
    """Find what bears on a claim.

    Args:
        test: what the claim compares.
        records: any Records; generated tasks never count.

    Returns:
        For a contrast one pair for each encoder, task and seed, the mean over all settings compared there. For a
        spread one for each configuration with at least `LEAST_SEEDS` seeds on the same `LEAST_TASKS` tasks or more.
    """
    if isinstance(test, Contrast):
        return _differences(test, records)
    return _spreads(test, records) if test else []


def _score(record: Record) -> float:
    return record.best[task_spec(record.experiment.task).primary_metric]


def _matches(experiment: Experiment, selector: Selector) -> bool:
    def field(path: str) -> Any:
        value: Any = experiment
        for name in path.split("."):
            value = getattr(value, name, None)
        return value

    return all(field(path) in accepted for path, accepted in selector.items())


def _groups(records: Iterable[Record], where: Selector, key: Callable[[Experiment], Any]) -> list[list[Record]]:
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        if not task_spec(record.experiment.task).synthetic and _matches(record.experiment, where):
            groups[key(record.experiment)].append(record)
    return list(groups.values())


def _differences(test: Contrast, records: Sequence[Record]) -> list[Pair]:
    paths = {path.partition(".")[0] for selector in test.selectors for path in selector}
    compared = {name for path in paths for name in READINGS.get(path, (path,))} | set(test.tune)
    equal = [field.name for field in fields(Experiment) if field.name not in compared]
    every = {record.experiment: record for record in records}
    found: dict[tuple[str, str, int], list[tuple[float, set[float]]]] = defaultdict(list)
    for group in _groups(records, test.where, lambda e: tuple(getattr(e, name) for name in equal)):
        difference = _difference(test, group, every)
        if difference is not None:
            experiment = group[0].experiment
            epochs = {record.experiment.epochs for record in group}
            found[experiment.model, experiment.task, experiment.seed].append((difference, epochs))
    pairs = []
    for (model, task, seed), compared_there in found.items():
        effects, epochs = zip(*compared_there, strict=True)
        pairs.append(Pair(model, frozenset([task]), frozenset([seed]), frozenset().union(*epochs), fmean(effects)))
    return pairs


def _difference(test: Contrast, group: Sequence[Record], every: dict[Experiment, Record]) -> float | None:
    """Sum of the plus terms less that of the minus terms; None where the group lacks a term."""

    def tuned(record: Record) -> tuple:
        return tuple(getattr(record.experiment, name) for name in test.tune)

    shared = set.intersection(
        *({tuned(r) for r in group if _matches(r.experiment, selector)} for selector in test.selectors)
    )
    if test.tune and len(shared) < LEAST_VALUES:
        return None

    def value(term: Selector | str) -> float | None:
        if term == TEACHER:
            found = [every[e] for e in {record.experiment.teacher for record in group} if e in every]
        else:
            found = [record for record in group if _matches(record.experiment, term) and tuned(record) in shared]
        return max(map(_score, found), default=None)

    plus, minus = [value(term) for term in test.plus], [value(term) for term in test.minus]
    return None if None in plus + minus else sum(plus) - sum(minus)


def _configuration(experiment: Experiment | None, length: bool = True) -> object:
    """What is equal between runs on several tasks; as long are runs of one budget, or of as many optimizer steps."""
    if experiment is None:
        return None
    linked = ("task", "seed", "epochs", "teacher", "start")
    own = {name: value for name, value in experiment.to_dict().items() if name not in linked}
    spec = task_spec(experiment.task)
    steps = ceil(experiment.epochs * ceil(spec.training_examples / spec.batch_size))
    return (
        repr(sorted(own.items())),
        (experiment.budget or steps) if length else None,
        # A task's own teacher is trained as long as that task needs.
        _configuration(experiment.teacher, length=False),
        _configuration(experiment.start),
    )


def _spreads(test: Spread, records: Sequence[Record]) -> list[Pair]:
    pairs = []
    for group in _groups(records, test.where, _configuration):
        scores = {(record.experiment.task, record.experiment.seed): _score(record) for record in group}
        seeds = sorted({seed for _, seed in scores})
        tasks = {task for task, _ in scores if all((task, seed) in scores for seed in seeds)}
        if len(seeds) >= LEAST_SEEDS and len(tasks) >= LEAST_TASKS:
            averages = [fmean(scores[task, seed] for task in tasks) for seed in seeds]
            epochs = frozenset(record.experiment.epochs for record in group if record.experiment.task in tasks)
            model = group[0].experiment.model
            pairs.append(Pair(model, frozenset(tasks), frozenset(seeds), epochs, pstdev(averages)))
    return pairs
