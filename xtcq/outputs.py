"""What the outputs of a classifier mean: its kind, and the names of its labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xtcq.checks import check_choice

if TYPE_CHECKING:  # names of labels are read without it
    from transformers import PretrainedConfig

CLASSES = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def problem_type(config: PretrainedConfig) -> str:
    """Return what the outputs of a sequence classifier mean, by transformers' names.

    A configuration that does not say it means classes, or a regression where it has one label, as in transformers'
    ``BertForSequenceClassification``.

    Args:
        config: of the model, with ``problem_type`` and ``num_labels``.

    Returns:
        ``"single_label_classification"`` (softmax), ``"multi_label_classification"`` (a sigmoid each) or
        ``"regression"`` (one number).

    Raises:
        ValueError: the kind is unknown, a regression has several outputs, or there is a single class to choose from.

    >>> from transformers import BertConfig
    >>> from xtcq.outputs import problem_type
    >>> problem_type(BertConfig(num_labels=1)), problem_type(BertConfig(num_labels=3))
    ('regression', 'single_label_classification')
    """
    stated, labels = getattr(config, "problem_type", None), int(config.num_labels or 0)
    if stated is None:
        return REGRESSION if labels == 1 else CLASSES
    check_choice("problem_type of the configuration", stated, (CLASSES, MULTI_LABEL, REGRESSION))
    if stated == REGRESSION and labels > 1:
        raise ValueError(
            f"the configuration has problem_type 'regression' with {labels} outputs, expected one: xtcq compresses "
            "regressions of a single number, so give each output a model of its own"
        )
    if stated == CLASSES and labels == 1:
        raise ValueError(
            "the configuration has problem_type 'single_label_classification' with 1 label, which is always the "
            "answer: set config.problem_type to 'regression', or to 'multi_label_classification' for a yes or no"
        )
    return stated


def check_names(what: str, names: Any, number: int, remedy: str) -> Mapping[int, object]:
    """Return names of labels if they tell all labels apart.

    Args:
        what: they are, for the message.
        names: by label.
        number: of labels.
        remedy: the end of the message.

    Raises:
        ValueError: there are more or fewer names than labels, their numbers are not 0, 1, ..., two are equal, or one
            is empty or holds control characters, which a terminal would obey.
    """
    fit = isinstance(names, Mapping) and set(names) == set(range(number))
    texts = [str(name) for name in names.values()] if fit else []
    if len(set(texts)) < number or any(not text.strip() or _CONTROL.search(text) for text in texts):
        raise ValueError(f"{what} is {names!r}, expected a name of its own for each of 0 to {number - 1}: {remedy}")
    return names
