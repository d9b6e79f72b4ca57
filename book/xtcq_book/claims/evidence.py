"""What Records say about a claim: differences, task by task, of runs that differ only in what the claim compares.

Whatever could be compared and does not count is listed with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isnan
from operator import attrgetter
from statistics import fmean
from typing import Any

import numpy as np

from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, as_taught
from xtcq.tasks import least_score
from xtcq_book.claims.examples import influence, majority
from xtcq_book.claims.ledger import LEAST_SEEDS, READINGS, TEACHER, Contrast, Found, Selector, Spread

LEAST_RATES = 3


@dataclass(frozen=True)
class Setting:
    """Runs of one task that a claim compares: equal in everything else.

    Attributes:
        task: name of the task.
        lift: what the best of the teacher is above the majority class, in points.
        terms: by seed, the Records whose scores are added (+1) and subtracted (-1).
        group: what is equal between the tasks of a spread.
        found: name of the number of a search that is looked at instead of a score.
        gated: what of it does not count, a sentence each.
    """

    task: str
    lift: float
    terms: Mapping[int, Sequence[tuple[int, Record]]]
    group: Any = None
    found: str | None = None
    gated: Sequence[str] = ()

    def effect(self, seed: int, score: str) -> float:
        """By how many points the plus side is ahead; of what a search found, in its own unit."""
        if self.found is not None:
            [(_, record)] = self.terms[seed]
            return record.exploration[self.found]
        return sum(sign * value(r, score, _first(r, self.terms[seed])) for sign, r in self.terms[seed])


@dataclass(frozen=True)
class Evidence:
    """What bears on a claim with one encoder.

    Attributes:
        settings: what counts.
        gated: what does not, a sentence each.
    """

    settings: list[Setting] = field(default_factory=list)
    gated: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> dict[str, set[int]]:
        """Seeds by task; all settings of a task have the same."""
        return {setting.task: set(setting.terms) for setting in sorted(self.settings, key=lambda s: s.task)}

    @property
    def mixed(self) -> list[str]:
        """Tasks in which a pair was computed in two number formats."""
        mixed = [s.task for s in self.settings for terms in s.terms.values() if len({r.compute for _, r in terms}) > 1]
        return sorted(set(mixed))

    @property
    def records(self) -> list[Record]:
        """The Records that are compared."""
        return [record for s in self.settings for terms in s.terms.values() for _, record in terms]

    @property
    def students(self) -> list[Record]:
        """Those of them that have a teacher."""
        return [record for record in self.records if record.experiment.teacher is not None]

    def effects(self, score: str) -> dict[str, list[float]]:
        """Effects by task, one a seed: the mean over the task's settings, in points."""
        return {
            task: [fmean(s.effect(seed, score) for s in self.settings if s.task == task) for seed in sorted(seeds)]
            for task, seeds in self.seeds.items()
        }

    @property
    def lifts(self) -> dict[str, float]:
        """What the teachers are above the majority class, by task, in points."""
        return {task: fmean(s.lift for s in self.settings if s.task == task) for task in self.seeds}

    def example_variances(self, score: str) -> dict[str, float] | None:
        """Variance of each task's effect over other development sets of its size; None without labels or predictions.

        All runs of a task were evaluated on the same examples, and some of them stand on both sides or in several
        settings: their influences are added up before they are squared.
        """
        if score == "best" and self.shortened:  # predictions are those of the best evaluation of all
            return None
        variances = {}
        for task in self.seeds:
            terms = [terms for s in self.settings if s.task == task for terms in s.terms.values()]
            influences = [(sign, influence(record, score)) for both in terms for sign, record in both]
            if any(one is None for _, one in influences):
                return None
            total = sum(sign * one for sign, one in influences) / len(terms)
            variances[task] = float(np.mean(total**2)) / len(total)
        return variances

    @property
    def shortened(self) -> list[str]:
        """Tasks in which the best of a side came before the widths of the other were fixed; the next best counts."""
        terms = [(s.task, terms) for s in self.settings for terms in s.terms.values()]
        return sorted({task for task, both in terms for _, r in both if _best(r)["step"] < _first(r, both)})

    def only(self, tasks: Iterable[str], because: str) -> Evidence:
        """The same for some of the tasks; the reason is listed for the others."""
        kept = [setting for setting in self.settings if setting.task in set(tasks)]
        left_out = sorted(set(self.seeds) - {setting.task for setting in kept})
        return Evidence(kept, self.gated + [f"{task}: {because}" for task in left_out])


# A teacher that is trained again on another processor comes out with other weights under the same digest. From two such
# teachers of STS-B the same 1-bit student, seed and rate reached 79 (its Record) and 69 (the same digest in
# benchmarks/results/number_format-bf16.zip): more than any claim is about. Its scores tell one teacher from another.
_TAUGHT = "what is compared learned from different trainings of one teacher"
_OTHERS = "runs by another method of training or on other data, beside those that count"


class _Gate(Exception):
    """Why something does not count."""


def value(record: Record, score: str, first: int = 0) -> float:
    """The primary metric of a Record at ``"best"`` or ``"last"``, in per cent; the best from step ``first`` on."""
    found = _best(record, first)["metrics"] if score == "best" else record.last
    return found[record.experiment.spec.primary_metric]


def _best(record: Record, first: int = 0) -> dict[str, Any]:
    metric = record.experiment.spec.primary_metric
    return max((e for e in record.evaluations if e["step"] >= first), key=lambda entry: entry["metrics"][metric])


def _first(record: Record, terms: Sequence[tuple[int, Record]]) -> int:
    """Step from which all students of a record's length are evaluated; learned widths are fixed on the way."""
    if record.experiment.teacher is None:
        return 0
    students = [other for _, other in terms if other.experiment.teacher is not None]
    alike = [other for other in students if other.experiment.steps == record.experiment.steps]
    return max(other.evaluations[0]["step"] for other in alike)


def find_evidence(test: Contrast | Spread | Found, records: Sequence[Record]) -> dict[str, Evidence]:
    """Find what bears on a claim, by encoder.

    Returns:
        Evidence by encoder. It has a setting for every combination of what the claim leaves open: for a contrast one of
        two sides or more, else one configuration on one task. An encoder without a run that bears on it is left out.
    """
    usable = [record for record in records if not record.experiment.spec.synthetic]
    where = dict(test.where) | ({"budget": test.length} if test.length else {})
    bearing = [r for r in usable if _matches(r.experiment, where)]
    teachers = {(record.experiment, _origin(record)): record for record in usable}
    key, setting = _unseeded, _seeds
    if isinstance(test, Contrast):
        paths = {path.partition(".")[0] for selector in test.selectors for path in selector}
        compared = {name for path in paths for name in READINGS.get(path, (path,))} | {"seed", test.tune}
        equal = [field.name for field in fields(Experiment) if field.name not in compared]
        bearing = [r for r in bearing if any(_matches(r.experiment, selector) for selector in test.selectors)]
        key, setting = attrgetter(*equal), _contrast
    groups: dict[Any, list[Record]] = defaultdict(list)
    for record in bearing:
        groups[key(record.experiment)].append(record)
    found: dict[str, Evidence] = defaultdict(Evidence)
    for group in groups.values():
        experiment = group[0].experiment
        # Students of several encoders may be compared: they speak for their teacher's.
        evidence, task = found[(experiment.teacher or experiment).model], experiment.task
        try:
            if counting := setting(test, group, teachers):
                evidence.settings.append(counting)
                reasons = [*counting.gated, *[_OTHERS] * (len(set(map(_origin, group))) > 1)]
                evidence.gated.extend(f"{task}: {reason}" for reason in reasons)
        except _Gate as gate:
            evidence.gated.append(f"{task}: {gate}")
    found = {model: _same_seeds(evidence) for model, evidence in found.items()}
    return {model: evidence for model, evidence in found.items() if evidence.settings or evidence.gated}


def _unseeded(experiment: Experiment) -> Experiment:
    """The same for all its seeds; a run that it begins with may have one of its own."""
    return replace(experiment, seed=0, start=experiment.start and replace(experiment.start, seed=0))


def _matches(experiment: Experiment, selector: Selector) -> bool:
    def read(path: str) -> Any:
        found: Any = experiment
        for name in path.split("."):
            found = getattr(found, name, None)
        return found

    return all(read(path) in accepted for path, accepted in selector.items())


def _origin(record: Record) -> tuple[int, str, str]:
    """What has to be equal besides the Experiment for two scores to be compared."""
    return record.method, repr(sorted(record.settings.items())), record.data


Teachers = Mapping[tuple[Experiment, tuple], Record]


def _contrast(test: Contrast, group: list[Record], teachers: Teachers) -> Setting | None:
    """The setting of a group; none where a side was not run."""

    def has_all(records: Iterable[Record]) -> bool:
        return all(any(_matches(r.experiment, selector) for r in records) for selector in test.selectors)

    if not has_all(group):
        return None
    origins = defaultdict(list)
    for record in group:
        origins[_origin(record)].append(record)
    complete = [origin for origin, records in origins.items() if has_all(records)]
    if not complete:
        raise _Gate("its sides were run by different methods of training, or on different data")
    group = origins[max(complete)]  # the newest method
    terms = [(+1, term) for term in test.plus] + [(-1, term) for term in test.minus]
    chosen = [({}, set()) if term == TEACHER else _side(term, group, test.tune) for _, term in terms]
    sides = [side for side, _ in chosen]
    seeds = set.intersection(*(set(side) for side in sides if side))
    others = seeds.difference(*(chose for _, chose in chosen))
    seeds = sorted(others if len(others) >= LEAST_SEEDS else seeds)
    if not seeds:
        raise _Gate("no seed is common to its sides" + " at their best rates" * bool(test.tune))
    runs = {
        seed: [
            (sign, side[seed] if side else _teacher(next(filter(None, sides))[seed], teachers))
            for (sign, _), side in zip(terms, sides, strict=True)
        ]
        for seed in seeds
    }
    runs, seeds = {seed: both for seed, both in runs.items() if _taught_alike(both)}, list(runs)
    if not runs:
        raise _Gate(_TAUGHT)
    if test.bitops is not None:
        bitops = [record.bitops for both in runs.values() for _, record in both]
        if max(bitops) > (1 + test.bitops) * min(bitops):
            ratio = max(bitops) / min(bitops) - 1
            raise _Gate(f"its sides differ in bit operations by {ratio:.0%}, and the claim is about equal ones")
    means = [fmean(value(both[i][1], "best") for both in runs.values()) for i in range(len(terms))]
    half = len(test.plus)
    setting = _gated(runs, min(map(max, means[:half], means[half:])), teachers)
    return replace(setting, gated=_apart([seed for seed in seeds if seed not in runs]))


def _taught_alike(terms: Sequence[tuple[int, Record]]) -> bool:
    """Whether students of one teacher learned from the same weights of it, as far as its scores tell."""
    students = [record for _, record in terms if record.experiment.teacher is not None]
    weights = {(record.experiment.teacher, repr(record.teacher_scores)) for record in students}
    return len(weights) == len({teacher for teacher, _ in weights})


def _seeds(test: Spread | Found, group: list[Record], teachers: Teachers) -> Setting:
    """The seeds of one configuration on one task."""
    newest = max(map(_origin, group))
    group = [record for record in group if _origin(record) == newest]
    runs = {record.experiment.seed: [(+1, record)] for record in group}
    if len(runs) < len(group):
        raise _Gate(
            f"runs of one seed begin with several others, and which of them is not said: «{group[0].experiment}»"
        )
    weights = [repr(record.teacher_scores) for record in group]
    most = max(weights, key=weights.count)
    runs = {seed: [(sign, r)] for seed, [(sign, r)] in runs.items() if repr(r.teacher_scores) == most}
    better = fmean(value(record, "best") for [(_, record)] in runs.values())
    return replace(
        _gated(runs, better, teachers),
        group=_configuration(group[0].experiment),
        found=test.found if isinstance(test, Found) else None,
        gated=_apart(sorted({record.experiment.seed for record in group} - set(runs))),
    )


def _apart(seeds: Sequence[int]) -> list[str]:
    return [f"seeds {', '.join(map(str, seeds))}: {_TAUGHT}"] if seeds else []


def _side(selector: Selector, group: Iterable[Record], tune: str | None) -> tuple[dict[int, Record], set[int]]:
    """Records of a term by seed, at the best of its rates if it is tuned, and the seeds that chose it."""
    name = ", ".join(f"{path} {'/'.join(map(str, accepted))}" for path, accepted in selector.items())
    rates: dict[Any, dict[int, Record]] = defaultdict(dict)
    for record in group:
        experiment = record.experiment
        if _matches(experiment, selector):
            of_rate = rates[tune and getattr(experiment, tune)]
            others = {_unseeded(other.experiment) for other in of_rate.values()}
            if experiment.seed in of_rate or others - {_unseeded(experiment)}:
                raise _Gate(f"several settings are «{name}», and the claim does not say which: «{experiment}» is one")
            of_rate[experiment.seed] = record
    if tune is None:
        return rates[None], set()
    shown = ", ".join(f"{rate:g}" for rate in sorted(rates))
    sweep = set.intersection(*map(set, rates.values()))
    if len(rates) < LEAST_RATES or not sweep:
        raise _Gate(f"«{name}» is not tuned: its rates with a common seed are fewer than {LEAST_RATES} ({shown})")
    best = max(sorted(rates), key=lambda rate: fmean(value(rates[rate][seed], "best") for seed in sweep))
    if best in (min(rates), max(rates)):
        raise _Gate(f"the best rate of «{name}», {best:g}, is at an edge of its sweep ({shown})")
    return rates[best], sweep


def _teacher(record: Record, teachers: Teachers) -> Record:
    teacher = record.experiment.teacher
    if teacher is None:
        raise _Gate("its runs have no teacher to be measured against")
    if (teacher, _origin(record)) not in teachers:
        raise _Gate("its teacher has no Record by the same method and on the same data")
    return as_taught(teachers[teacher, _origin(record)], record)


def _gated(terms: Mapping[int, Sequence[tuple[int, Record]]], better: float, teachers: Teachers) -> Setting:
    """The setting, if its runs can say anything."""
    runs = [record for both in terms.values() for _, record in both]
    if any(r.experiment.adaqat is not None and not (r.exploration or {}).get("in_regime") for r in runs):
        raise _Gate("the search for its widths did not run in the paper's regime")
    students = [record for record in runs if record.experiment.teacher is not None]
    levels = {value(_teacher(record, teachers), "best") for record in students or runs}
    experiment = runs[0].experiment
    least = least_score(experiment.spec, majority(experiment.task))
    if isnan(least):
        raise _Gate("its labels are needed to know what the most frequent answer scores, and XTCQ_DATA lacks them")
    for name, level in (("teacher", min(levels)), ("better side", better)):
        if level <= least:
            raise _Gate(f"its {name} scores {level:.1f}, which is not above {least:.1f}: it has learnt too little")
    return Setting(experiment.task, max(levels) - majority(experiment.task), terms)


def _same_seeds(evidence: Evidence) -> Evidence:
    """Keep the settings of each task that have most seeds, so that every seed stands for the same settings.

    Of the settings of one configuration, which differ in their teacher or length, one is kept.
    """
    kept, gated = [], list(evidence.gated)
    for task in evidence.seeds:
        alike = defaultdict(list)
        for number, setting in enumerate(s for s in evidence.settings if s.task == task):
            alike[setting.group or number].append(setting)
        settings = [max(several, key=lambda s: (len(s.terms), s.lift)) for several in alike.values()]
        if fewer := sum(map(len, alike.values())) - len(settings):
            gated.append(
                f"{task}: {fewer} with another teacher, start or length, beside one with as many seeds or more"
            )
        most = max((sorted(setting.terms) for setting in settings), key=len)
        kept += [setting for setting in settings if sorted(setting.terms) == most]
        if fewer := sum(sorted(setting.terms) != most for setting in settings):
            seeds = ", ".join(map(str, most))
            gated.append(f"{task}: {fewer} of {len(settings)} settings were not run with all seeds {seeds}")
    return Evidence(kept, gated)


def _configuration(experiment: Experiment | None) -> object:
    """What is equal between runs on several tasks; as long are runs of one budget, or of as many optimizer steps."""
    if experiment is None:
        return None
    linked = ("task", "seed", "epochs", "teacher", "start")
    own = {name: value for name, value in experiment.to_dict().items() if name not in linked}
    return (
        repr(sorted(own.items())),
        experiment.budget or experiment.steps,
        # A task's own teacher is trained as long, and at the rate, as that task needs.
        experiment.teacher and (experiment.teacher.model, experiment.teacher.kept),
        _configuration(experiment.start),
    )
