"""An attention function for transformers that hands out scores and can quantize its operands."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from xtcq.preflight import check_model

ATTENTION_NAME = "xtcq"
OPERANDS = ("query", "key", "value", "probabilities")


def score_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Attend as BERT does, and return the scores before mask and softmax.

    XTC and TernaryBERT distil scores, not probabilities (TernaryBERT ``transformer/modeling_quant.py``). Those codes
    add the mask to the scores first; here the scores are finite everywhere, and padding is left to the loss.

    Where ``module`` has a ModuleDict ``operand_quantizers``, the operands ``query``, ``key``, ``value`` and
    ``probabilities`` (after dropout) are quantized, as in TernaryBERT.

    The arguments are transformers': ``query``, ``key`` and ``value`` [batch, heads, tokens, head size], an additive
    mask that broadcasts to the scores, or None, and their ``scaling``, 1/sqrt(head size) by default.

    Returns:
        Output [batch, queries, heads, head size] and scores q.k^T * scaling [batch, heads, queries, keys].
    """
    quantizers = getattr(module, "operand_quantizers", {})
    operands = {"query": query, "key": key, "value": value}
    # The products below copy transposed operands. Copied before they are quantized, they cost the same and compile.
    query, key, value = (quantizers[name](x.contiguous()) if name in quantizers else x for name, x in operands.items())
    scale = query.size(-1) ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)) * scale
    masked = scores if attention_mask is None else scores + attention_mask
    probabilities = F.dropout(F.softmax(masked, dim=-1), p=dropout, training=module.training)
    if "probabilities" in quantizers:
        probabilities = quantizers["probabilities"](probabilities)
    return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), scores


# Here, and with the additive mask of eager attention: a quantized model that is unpickled in another process imports
# this module, and no more.
AttentionInterface.register(ATTENTION_NAME, score_attention)
AttentionMaskInterface.register(ATTENTION_NAME, eager_mask)


def check_score_attention(module: nn.Module, *_: object) -> None:
    """Refuse an attention module whose operands would go unquantized; it runs before every call of such a module.

    Raises:
        ValueError: another attention function was chosen after ``quantize``.
    """
    config: Any = module.config
    if config._attn_implementation != ATTENTION_NAME:
        raise ValueError(
            f"the attention function was set to {config._attn_implementation!r} after quantize, which leaves out the "
            "quantizers of queries, keys, values and probabilities: call use_score_attention(model)"
        )


def use_score_attention(model: PreTrainedModel) -> PreTrainedModel:
    """Make ``output_attentions=True`` of ``model`` (student or teacher) yield scores; return the model.

    Raises:
        ValueError: it is wrapped, or no model of transformers, or transformers does not let it change its attention
            function.

    >>> from xtcq import use_score_attention
    >>> from xtcq.quantization import architecture
    >>> use_score_attention(architecture("minilm-l6")).config._attn_implementation
    'xtcq'
    """
    check_model(model)
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"{type(model).__name__} is no model of transformers: give the one that it holds")
    model.set_attn_implementation(ATTENTION_NAME)
    if model.config._attn_implementation != ATTENTION_NAME:
        raise ValueError(
            f"{type(model).__name__} keeps its own attention function {model.config._attn_implementation!r}: "
            "scores can be had from models that use transformers' AttentionInterface, such as BertModel"
        )
    return model
