"""One text, and a line with what a model says of it."""

from __future__ import annotations

import json
from typing import Any

from xtcq.deploy.runtime import Runtime


def predict_text(runtime: Runtime, text: str, pair: str | None, as_json: bool) -> str:
    """Classify one text, or pair of texts, and return a line to print: label and probability, or the value.

    Where several labels may hold, the line has every label with its probability. With ``as_json``, it is an object of
    ``prediction`` and, unless the model is a regression, the ``probabilities`` of all labels. Errors and warnings are
    those of ``Runtime.predict``.
    """
    predictions = runtime.predict([text], None if pair is None else [pair])
    (value,) = predictions.values
    if not runtime.names:
        return json.dumps({"prediction": value}) if as_json else f"{value:.4f}"
    odds = dict(zip(runtime.names, predictions.probabilities[0].tolist(), strict=True))
    if as_json:
        found: dict[str, Any] = {"prediction": value}
        if not runtime.multi_label:
            found["probability"] = max(odds.values())
        return json.dumps(found | {"probabilities": odds})
    if runtime.multi_label:
        return "  ".join(f"{name} {probability:.4f}" for name, probability in odds.items())
    return f"{value}  {max(odds.values()):.4f}"
