import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification, BertModel

from xtcq.quantization import QuantConfig, QuantLinear, freeze, quantize

CLASSES = {c.__name__: c for c in (BertModel, BertForSequenceClassification, BertForQuestionAnswering)}


@pytest.fixture
def frozen_bert(padded_batch):
    """A factory of tiny frozen models whose steps, biases and low-rank terms are not at their first values."""

    def build(
        precision="1-1-8", recipe="xtc", lora_rank=0, kind="BertForSequenceClassification", bits=None, **sizes
    ) -> torch.nn.Module:
        torch.manual_seed(0)
        shape = {"vocab_size": 101, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 2}
        shape |= {"intermediate_size": 70, "max_position_embeddings": 64, "num_labels": 3}
        model = CLASSES[kind](BertConfig(**shape | sizes)).eval()
        quantize(model, QuantConfig(precision, recipe, lora_rank))
        for name, module in model.named_modules():
            if isinstance(module, QuantLinear) and bits and module.weight_quantizer is not None:
                module.weight_quantizer.bits = bits[len(name) % len(bits)]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
            model(**padded_batch)
        return freeze(model)

    return build


@pytest.fixture
def outputs(padded_batch):
    """All outputs of a model for the padded batch, hidden states and scores included."""

    @torch.no_grad()
    def run(model):
        # The first batch must not decide a step: whatever the model needs is in it already.
        found = model(**padded_batch, output_hidden_states=True, output_attentions=True)
        flat = []
        for value in found.to_tuple():
            flat += value if isinstance(value, tuple) else [value]
        return flat

    return run
