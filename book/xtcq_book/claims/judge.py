"""Judges the ledger of claims: the papers' effects from their tables, ours from Records, a verdict by one rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from xtcq.study.budgets import AUGMENTED_ROWS, own_name
from xtcq.study.experiment import Experiment
from xtcq.study.records import Record, load_record, records_folder
from xtcq.study.scales import GLUE
from xtcq.tasks import task_spec
from xtcq_book import published
from xtcq_book.claims import computed
from xtcq_book.claims.evidence import Evidence, Setting, find_evidence, value
from xtcq_book.claims.interval import Estimate, deviation, estimate
from xtcq_book.claims.ledger import LEAST_SEEDS, Claim, Computed, Contrast, Found, Spread, Untestable, load_claims

# At the papers' encoder and a budget of theirs; elsewhere; and what no interval can decide.
REPRODUCED, CONTRADICTED, UNDECIDED = "reproduced", "contradicted", "undecided"
SAME, OPPOSITE, NO_DIFFERENCE, UNDECIDED_HERE = "same here", "opposite here", "no difference seen", "undecided here"
DEPENDS, CANNOT, NOT_RUN = "depends on the score", "cannot be tested here", "not run"
VERDICTS = (
    REPRODUCED, CONTRADICTED, UNDECIDED, SAME, OPPOSITE, NO_DIFFERENCE, UNDECIDED_HERE, DEPENDS, CANNOT, NOT_RUN,
)  # fmt: skip
DECIDED = (REPRODUCED, CONTRADICTED, SAME, OPPOSITE, NO_DIFFERENCE)
SCORES = ("best", "last")
PAPER_MODEL = "bert-base-uncased"
PAPER_TASKS = 8
ADAQAT_TASKS, ADAQAT_RATE = (*GLUE, "squad1", "squad2"), 2e-5
# What the papers' own intervals say, besides "undecided".
HOLDS, FAILS = "holds", "fails"
ONE_SEED = "undecided (one seed)"
_NOTHING = "nothing that was run passes the gates"
_OPEN = "the interval holds the threshold, or zero"
_NO_CONTROL = "its control arm was not run, or does not pass the gates"


@dataclass(frozen=True)
class Scored:
    """A claim under one score.

    Attributes:
        points: the effect, in points; in bits of what a search found.
        lift: the same in per cent of the lift; None where there is none.
        verdict: the word for it; None for what is computed.
    """

    points: Estimate
    lift: Estimate | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class Judgement:
    """A claim beside the evidence.

    Attributes:
        claim: what is claimed.
        paper_effect: in points, computed from the published tables; None for a claim in words or in a figure.
        paper_interval: for other seeds; None where the paper has none.
        paper_verdict: `HOLDS` or `FAILS`, by the same rule, or why it is open.
        verdict: one of `VERDICTS`.
        because: why nothing was decided; empty otherwise.
        best, last: the same under each score; None where there is no effect.
        beyond: whether the verdict stays with the interval for other examples as well.
        control: effect in points of the control arm under the best score.
        evidence: what was compared and what was left out; None where nothing was.
        model: the encoder.
    """

    claim: Claim
    paper_effect: float | None
    paper_interval: tuple[float, float] | None
    paper_verdict: str
    verdict: str
    because: str = ""
    best: Scored | None = None
    last: Scored | None = None
    beyond: bool = False
    control: float | None = None
    evidence: Evidence | None = None
    model: str = ""

    @property
    def steps(self) -> list[int]:
        """Lengths of the plans that were compared, in optimizer steps."""
        return sorted({record.experiment.steps for record in self.evidence.students}) if self.evidence else []


def judge_all(chapter: str | None = None) -> list[Judgement]:
    """Judge the book's ledger by the Records of `records_folder`, in the ledger's order.

    Errors are those of `load_claims`, of `load_record`, and of `judge`.

    Args:
        chapter: whose claims, by the name of its notebook; all if it is not given.
    """
    records = [load_record(file) for file in sorted(records_folder().glob("*.json"))]
    return [judge(claim, records) for claim in load_claims() if chapter in (None, claim.chapter)]


def judge(claim: Claim, records: Sequence[Record]) -> Judgement:
    """Judge one claim by the rule that opens the page of the claims.

    Raises:
        ValueError: a published row or metric that does not exist, a malformed table, or a Record whose predictions do
            not fit the development set.
    """
    opened = _paper(claim)
    test = claim.test
    if isinstance(test, Computed):
        effect = computed.VALUES[test.computed]() - opened.paper_effect
        verdict = REPRODUCED if claim.holds_at(effect) else CONTRADICTED
        return replace(opened, verdict=verdict, best=Scored(Estimate(effect, (effect, effect), None, 1, 1)))
    if isinstance(test, Untestable):
        return replace(opened, verdict=CANNOT, because=test.untestable)
    if not (found := find_evidence(test, records)):
        return opened
    # The papers' own encoder speaks first, but not if it has too little to say.
    of_model = {name: (_lack(claim, one) == "", name == PAPER_MODEL, len(one.settings)) for name, one in found.items()}
    model = max(of_model, key=of_model.get)
    evidence = found[model]
    opened = replace(opened, model=model)
    spread = isinstance(test, Spread)
    return _judge_spread(claim, opened, evidence) if spread else _judge_contrast(claim, opened, evidence, records)


def _judge_contrast(claim: Claim, opened: Judgement, evidence: Evidence, records: Sequence[Record]) -> Judgement:
    test, arm = claim.test, None
    if isinstance(test, Contrast) and test.control is not None:
        arm = find_evidence(replace(test, plus=(test.control,), control=None), records).get(opened.model, Evidence())
        evidence = evidence.only(arm.seeds, _NO_CONTROL)
    # Too few to decide anything are shown all the same, with an interval if some have one.
    for seeds, tasks in ((LEAST_SEEDS, claim.least_tasks), (2, 1)):
        if len(enough := [task for task, found in evidence.seeds.items() if len(found) >= seeds]) >= tasks:
            evidence = evidence.only(enough, f"fewer than {seeds} seeds")
            break
    judged = replace(opened, evidence=evidence)
    if not evidence.settings:
        return replace(judged, verdict=CANNOT, because=_NOTHING if arm is None or arm.settings else _NO_CONTROL)
    judged = replace(judged, **_estimates(evidence))
    if arm is not None:
        of_tasks = arm.only(evidence.seeds, "")
        missed = [fmean(map(fmean, of_tasks.effects(score).values())) for score in SCORES]
        judged = replace(judged, control=missed[0])
        if not all(map(claim.holds_at, missed)):
            because = f"the control arm, at {missed[0]:+.1f} points (last {missed[1]:+.1f}), misses the bound by itself"
            return replace(judged, verdict=CANNOT, because=because)
    return _with_words(claim, judged)


def _judge_spread(claim: Claim, opened: Judgement, evidence: Evidence) -> Judgement:
    judged = replace(opened, evidence=evidence)
    if not evidence.settings:
        return replace(judged, verdict=CANNOT, because=_NOTHING)
    if lack := _lack(claim, evidence):
        return replace(judged, verdict=UNDECIDED if _at_scale(judged) else UNDECIDED_HERE, because=lack)
    configurations = [found for found in _configurations(claim, evidence) if len(found[0]) >= claim.least_tasks]
    found = {}
    for score in SCORES:
        variances, freedoms = [], []
        for settings, seeds in configurations:
            averages = [fmean(value(s.terms[seed][0][1], score) for s in settings) for seed in seeds]
            variances.append(stdev(averages) ** 2 * len(settings) / PAPER_TASKS)
            freedoms.append(len(seeds) - 1)
        spread, bounds = deviation(variances, freedoms)
        found[score] = Scored(Estimate(spread, bounds, None, len(variances), len(variances)))
    kept = [setting for settings, _ in configurations for setting in settings]
    return _with_words(claim, replace(opened, evidence=Evidence(kept, evidence.gated), **found))


def _configurations(claim: Claim, evidence: Evidence) -> list[tuple[list[Setting], list[int]]]:
    """Settings of each configuration that have enough seeds in common, one a task, and these seeds."""
    groups = defaultdict(list)
    for setting in evidence.settings:
        if len(setting.terms) >= LEAST_SEEDS:
            groups[setting.group].append(setting)
    common = [(settings, sorted(set.intersection(*(set(s.terms) for s in settings)))) for settings in groups.values()]
    return [(settings, seeds) for settings, seeds in common if len(seeds) >= LEAST_SEEDS]


def _lack(claim: Claim, evidence: Evidence) -> str:
    """What evidence lacks to decide a claim; empty for nothing."""
    if isinstance(claim.test, Spread):
        tasks = max((len(settings) for settings, _ in _configurations(claim, evidence)), default=0)
    else:
        tasks = sum(len(seeds) >= LEAST_SEEDS for seeds in evidence.seeds.values())
    shown = f"{tasks} task{'s' * (tasks != 1)} of {claim.least_tasks} with {LEAST_SEEDS} seeds each"
    return "" if tasks >= claim.least_tasks else shown


def _at_scale(judged: Judgement) -> bool:
    """Whether the papers' encoder was trained as the claim's paper trains it."""
    students = judged.evidence.students or judged.evidence.records
    if judged.model != PAPER_MODEL:
        return False
    if judged.claim.paper == published.ADAQAT:
        # It does not say how long it trains; its Table 6 has one rate, and its SQuAD is the whole of it.
        experiments = [record.experiment for record in students]
        own = all(e.task in ADAQAT_TASKS and e.learning_rate == ADAQAT_RATE for e in experiments)
        return own and all(e.augmentation == "none" for e in experiments)
    test = judged.claim.test
    compared = isinstance(test, Contrast) and any("augmentation" in term for term in test.selectors)
    return all(_as_xtc(r.experiment, compared) for r in students)


def _as_xtc(experiment: Experiment, any_data: bool) -> bool:
    """Whether a run has a budget that XTC has for its task, and the sentences that it adds to it."""
    added = "tinybert" if experiment.task in AUGMENTED_ROWS else "none"
    return own_name(experiment.task, experiment.epochs) is not None and (any_data or experiment.augmentation == added)


def _estimates(evidence: Evidence) -> dict[str, Scored]:
    """Effects under both scores, in points and in per cent of the lift; of what a search found, in bits alone."""
    lifts, found = evidence.lifts, {}
    for score in SCORES:
        effects = evidence.effects(score)
        if evidence.settings[0].found is not None:
            found[score] = Scored(estimate(effects))
            continue
        variances = evidence.example_variances(score)
        shares = {task: [100 * one / lifts[task] for one in values] for task, values in effects.items()}
        scaled = variances and {task: variance * (100 / lifts[task]) ** 2 for task, variance in variances.items()}
        found[score] = Scored(estimate(effects, variances), estimate(shares, scaled))
    return found


def _with_words(claim: Claim, judged: Judgement) -> Judgement:
    """The judgement with its verdicts."""
    lack = _lack(claim, judged.evidence)
    at_scale, lift = _at_scale(judged), fmean(judged.evidence.lifts.values()) / 100
    undecided = UNDECIDED if at_scale else UNDECIDED_HERE

    def word(scored: Scored, part: str) -> str:
        intervals = [getattr(scored.points, part)]
        if scored.lift is not None:
            # A share of the lift in points of a task with the mean lift: the threshold stays what it is.
            bounds = getattr(scored.lift, part)
            intervals.append(bounds and tuple(lift * bound for bound in bounds))
        words = {None if lack else word_for(claim, bounds, at_scale) for bounds in intervals}
        return (words.pop() if len(words) == 1 else None) or undecided

    both = (judged.best, judged.last)
    best, last = (replace(scored, verdict=word(scored, "seeds")) for scored in both)
    verdict, because = best.verdict if best.verdict == last.verdict else DEPENDS, lack
    if verdict == undecided and not lack:
        alone = word_for(claim, best.points.seeds, at_scale)
        because = "decided in points, but not as a share of the lift" if alone else _OPEN
    if verdict == DEPENDS:
        because = f"{best.verdict} by the best score, {last.verdict} by the last"
    if verdict in DECIDED and best.lift is not None and (rests := _without_a_task(claim, judged)):
        verdict, because = undecided, rests
    beyond = verdict in DECIDED and {word(scored, "both") for scored in both} == {verdict}
    return replace(judged, verdict=verdict, because=because, best=best, last=last, beyond=beyond)


def _without_a_task(claim: Claim, judged: Judgement) -> str:
    """Which of several tasks a verdict rests on, and what is left without it; empty if there is none.

    Without any one task the effect has to stay on its side of the threshold, and the interval on its side of zero.
    """

    def sides(points: Estimate) -> tuple[bool, bool]:
        low, high = points.seeds
        return claim.holds_at(points.effect), low * high > 0

    for task in judged.evidence.seeds if len(judged.evidence.seeds) > 1 else ():
        others = judged.evidence.only([other for other in judged.evidence.seeds if other != task], "")
        found = {score: scored.points for score, scored in _estimates(others).items()}
        for score, points in found.items():
            (held, apart), (still_held, still_apart) = map(sides, (getattr(judged, score).points, points))
            if still_held != held or (apart and not still_apart):
                said = "{} {:+.1f} [{:+.1f}, {:+.1f}]"
                left = ", ".join(said.format(name, one.effect, *one.seeds) for name, one in found.items())
                return f"it rests on {task_spec(task).title}: without it {left} points"
    return ""


def word_for(claim: Claim, bounds: tuple[float, float] | None, at_scale: bool) -> str | None:
    """The word for an interval; None where it decides nothing."""
    if bounds is None:
        return None
    if (held := _held(claim, bounds)) == UNDECIDED:
        return None
    if held == HOLDS:
        return REPRODUCED if at_scale else SAME
    if at_scale:
        return CONTRADICTED
    if isinstance(claim.test, Found):  # bits: there is no zero that a side would be opposite to
        return OPPOSITE
    if all(abs(bound) < claim.smallest_effect for bound in bounds):
        return NO_DIFFERENCE
    return OPPOSITE if bounds[0] * bounds[1] > 0 else None


def _paper(claim: Claim) -> Judgement:
    """The paper's side of a judgement, and that nothing was run."""
    effect = claim.paper_effect()
    if effect is None:
        return Judgement(claim, None, None, "no numbers", NOT_RUN)
    if isinstance(claim.test, Computed):
        return Judgement(claim, effect, None, "printed", NOT_RUN)
    bounds = None
    if isinstance(claim.test, Spread):
        effect, bounds = claim.effect.pooled_deviation()
    elif claim.paper == published.XTC:
        bounds = claim.effect.borrowed_interval()
    return Judgement(claim, effect, bounds, _held(claim, bounds) if bounds else ONE_SEED, NOT_RUN)


def _held(claim: Claim, bounds: tuple[float, float]) -> str:
    sides = {claim.holds_at(bound) for bound in bounds}
    return UNDECIDED if len(sides) == 2 else HOLDS if sides.pop() else FAILS


def counts(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Number of claims by verdict, in the order of `VERDICTS`."""
    found = [judgement.verdict for judgement in judgements]
    return {verdict: found.count(verdict) for verdict in VERDICTS}
