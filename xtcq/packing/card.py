"""The model card of a packed model: the README.md that the Hugging Face hub shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real

from huggingface_hub import ModelCardData
from torch import nn
from transformers import PreTrainedModel

from xtcq.quantization import model_size, quant_config, quantized_layers
from xtcq.quantization.contents import recipe_linears
from xtcq.quantization.cost import MIB

ADDRESS = "https://github.com/xtcq/xtcq"

_PIPELINES = {
    "BertForSequenceClassification": "text-classification",
    "BertForQuestionAnswering": "question-answering",
    "BertModel": "feature-extraction",
}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model cannot say about itself.

    Attributes:
        task: what it was trained for.
        metrics: scores in per cent, by name.
        evaluated_on: the data that the scores were measured on, and how the weights were chosen.
        teacher: what it was distilled from.
        base_model: the pre-trained encoder, as its repository on the Hugging Face hub.
        licence: identifier in the hub's list, such as "apache-2.0".

    >>> from xtcq import ModelCard
    >>> ModelCard(task="SST-2", metrics={"accuracy": 91.3}, licence="apache-2.0").task
    'SST-2'
    """

    task: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    evaluated_on: str | None = None
    teacher: str | None = None
    base_model: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        """Check that scores are finite numbers, or raise a ValueError."""
        for name, value in self.metrics.items():
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(f"the card's metrics have {name} {value!r}, expected a number, in per cent")


def render_card(card: ModelCard, model: PreTrainedModel, rest: str, file_bytes: int, has_tokenizer: bool) -> str:
    """Write the card, Markdown with the hub's YAML header, of a frozen model whose packed file has so many bytes."""
    config, size = quant_config(model), model_size(model, rest)
    precision, pipeline = _precision(model), _PIPELINES[type(model).__name__]
    header = ModelCardData(
        license=card.licence,
        base_model=card.base_model,
        library_name="xtcq",
        pipeline_tag=pipeline,
        tags=["quantization", "bert", f"xtcq-{config.recipe}"],
    )
    facts = {
        "task": card.task,
        "teacher": card.teacher,
        "encoder": card.base_model,
        "licence": card.licence,
        "precision": f"{precision} (bits of weights, embeddings and activations), recipe `{config.recipe}`",
        "left in floating point": _floating(model),
        "low-rank term": f"rank {config.lora_rank}" if config.lora_rank else "none",
        "encoder layers": model.config.num_hidden_layers,
        "parameters": f"{size.parameters:,}",
        "size in 32-bit floating point": f"{4 * size.parameters / MIB:.2f} MiB",
        "nominal size, as the papers count": f"{size.nominal_mib:.2f} MiB",
        "size of the file": f"{file_bytes / MIB:.2f} MiB (scales and unquantized parameters in {rest})",
    }
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in facts.items())]
    if card.metrics:
        lines += ["", f"Scores in per cent ({card.evaluated_on or 'data not stated'}):", "", "| metric | score |"]
        lines += ["| --- | --- |", *(f"| {name} | {value:.1f} |" for name, value in card.metrics.items())]
    title = f"{type(model).__name__} at {precision}"
    body = [f"# {title}", "", f"BERT with integer weights, packed by [xtcq]({ADDRESS}).", "", *lines, "", "## Use", ""]
    body += [f"`pip install git+{ADDRESS}`, then:", ""]
    body += ["```python", *_usage(has_tokenizer, pipeline), "```", ""]
    # transformers 5 has no pipeline for questions, and xtcq predicts classes and numbers alone.
    piped = ", `pipeline(task, model=model, tokenizer=tokenizer)`" * (pipeline != "question-answering")
    predict = "`python -m xtcq predict`, or " if pipeline == "text-classification" else ""
    body += [
        "`load_packed` unpacks weights to one byte each and multiplies in floating point: it saves disk and download, "
        "not time. `python -m xtcq predict` runs classifiers with integer arithmetic.",
        "",
        "| what | how | the same answers? |",
        "| --- | --- | --- |",
        f"| transformers{piped} | `load_packed` | to the bit |",
        f"| onnxruntime | {predict}`python -m xtcq export . --to onnx` | but for rounding |",
        "| llama.cpp, binary or ternary weights alone | `python -m xtcq export . --to gguf` | no: other activations |",
    ]
    return f"---\n{header.to_yaml()}\n---\n\n" + "\n".join(body) + "\n"


def _cell(value: object) -> str:
    """A value in a row of a Markdown table, which a bar or a new line would end."""
    return " ".join(str(value or "not stated").split()).replace("|", "\\|")


def _floating(model: PreTrainedModel) -> str:
    """Which linear layers that the recipe is about were left as they were, by ``exclude`` or ``include``."""
    left = [name for name, layer in recipe_linears(model, quant_config(model)).items() if type(layer) is nn.Linear]
    return f"{', '.join(left[:4])}{f' and {len(left) - 4} more' if len(left) > 4 else ''}" if left else "none"


def _precision(model: nn.Module) -> str:
    """The precision; where widths were learned, with their averages without regard to sizes, as AdaQAT-BERT prints."""
    precision = str(quant_config(model).precision)
    widths = [(layer.bits, layer.input_bits) for layer in quantized_layers(model).values() if layer.input_bits]
    if not widths:
        return precision
    weights, activations = (f"{sum(bits) / len(widths):.3g}" for bits in zip(*widths, strict=True))
    numbers, *tables = precision.split()
    return " ".join(["-".join([weights, *numbers.split("-")[1:-1], activations]), *tables])


def _usage(has_tokenizer: bool, pipeline: str) -> list[str]:
    lines = ["from xtcq import load_packed", "", 'folder = "."  # where these files lie', "model = load_packed(folder)"]
    if has_tokenizer:
        lines.insert(0, "from transformers import AutoTokenizer")
        lines += ["tokenizer = AutoTokenizer.from_pretrained(folder)"]
        texts = '"a question?", "its context"' if pipeline == "question-answering" else '"a sentence"'
        lines += [f'outputs = model(**tokenizer({texts}, return_tensors="pt"))']
    return lines
