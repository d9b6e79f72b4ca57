"""Who else allocates bits: rivals of AdaQAT that choose a width for every matrix's weights and inputs."""

from xtcq_book.allocators.chapter import (
    find,
    gains,
    score_over_bitops,
    score_over_size,
    show,
    students,
    table,
    to_frame,
)
