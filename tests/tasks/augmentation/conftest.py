import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

WORDS = "cat dog bird red blue green runs walks sleeps the don ##ing walk . '".split()


@pytest.fixture(scope="session")
def piece_tokenizer():
    """An uncased word-piece tokenizer of a few words; "walking" has two pieces."""
    vocabulary = {piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@pytest.fixture
def masked_lm(piece_tokenizer):
    """A tiny random masked language model over that vocabulary."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(piece_tokenizer.get_vocab()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    return BertForMaskedLM(config).eval()
