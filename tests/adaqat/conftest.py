import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from xtcq.quantization import QuantConfig, quantize


@pytest.fixture
def learned(tiny_bert, padded_batch):
    """A factory of tiny BERTs of recipe adaqat whose steps are set, each with a batch that has labels."""

    def build(precision="4-4-4", head="classes", layers=2):
        batch = dict(padded_batch)
        if head == "questions":
            torch.manual_seed(0)
            sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 128}
            model = BertForQuestionAnswering(BertConfig(vocab_size=101, num_hidden_layers=layers, **sizes))
            batch |= {"start_positions": torch.tensor([1, 0, 1]), "end_positions": torch.tensor([3, 2, 1])}
        else:
            labels = 1 if head == "regression" else 2
            model = tiny_bert(layers=layers, num_labels=labels)
            batch["labels"] = torch.tensor([0.5, 1.5, 2.5] if head == "regression" else [0, 1, 1])
        model = quantize(model.eval(), QuantConfig(precision, "adaqat"))
        with torch.no_grad():
            # Weights as large, and steps as small, as it takes for one bit less anywhere to reach the loss.
            for name, parameter in model.named_parameters():
                parameter += (0 if name.endswith(".step") else 0.2) * torch.randn_like(parameter)
            model(**batch)
            for name, parameter in model.named_parameters():
                parameter *= 0.4 if name.endswith("_quantizer.step") else 1
        return model, batch

    return build
