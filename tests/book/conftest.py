"""What the tests of the book share."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def figures():
    """Figures are drawn without a screen, and closed after each test."""
    plt.switch_backend("agg")
    yield
    plt.close("all")


@dataclass(frozen=True)
class Bert:
    """Parameter counts of BERT-base-uncased by hand, without a task head: the oracle of what the library counts."""

    layers: int = 12
    hidden: int = 768
    intermediate: int = 3072

    @property
    def linears(self):
        """Weights of the linear maps of encoder and pooler (73 matrices for 12 layers)."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate) + self.hidden**2

    @property
    def embeddings(self):
        """Weights of the word, segment and position embeddings."""
        return 30_522 * self.hidden, 2 * self.hidden, 512 * self.hidden

    @property
    def matrices(self):
        """All two-dimensional weights: what XTC counts in its sizes."""
        return self.linears + sum(self.embeddings)

    @property
    def parameters(self):
        """All parameters, biases and LayerNorm included."""
        return self.matrices + self.layers * (9 * self.hidden + self.intermediate) + 3 * self.hidden


@pytest.fixture(scope="session")
def bert():
    """Counts of a BERT with some layers."""
    return Bert
