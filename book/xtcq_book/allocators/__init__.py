"""Who else allocates bits: rivals of AdaQAT that choose a width for every matrix's weights and inputs."""

from xtcq_book.allocators.chapter import Choice, find, gains, show, students, table, to_frame
from xtcq_book.allocators.fracbits import FracBits
from xtcq_book.allocators.plot import score_over_bitops
from xtcq_book.allocators.program import cheapest
from xtcq_book.allocators.sensitivity import sensitivities
from xtcq_book.allocators.space import SearchSpace, random_widths, round_to_budget, uniform

__all__ = [
    "Choice",
    "FracBits",
    "SearchSpace",
    "cheapest",
    "find",
    "gains",
    "random_widths",
    "round_to_budget",
    "score_over_bitops",
    "sensitivities",
    "show",
    "students",
    "table",
    "to_frame",
    "uniform",
]
