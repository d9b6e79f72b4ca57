"""The cheapest choice within a budget, by integer programming (HAWQ-V3 chooses its widths this way)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, kron

from xtcq.quantization import Widths
from xtcq_book.allocators.space import PAIRS, SearchSpace

# What each width of a matrix costs in task loss: of its weights, and of its inputs.
Costs = tuple[Mapping[int, float], Mapping[int, float]]


def cheapest(costs: Mapping[str, Costs], space: SearchSpace, budget: float) -> Widths:
    r"""Minimise the sum of all matrices' costs, exactly, subject to the BitOPs of the budget.

    There is one binary variable for each matrix and pair (Nw, Na), of which each matrix has one that is set:

    .. math::
       \min_z \sum_{l, w, a} (C^w_{l,w} + C^a_{l,a})\, z_{l,w,a}
       \quad \text{subject to} \quad \sum_{w, a} z_{l,w,a} = 1, \quad
       \sum_{l, w, a} w a |w_l|\, z_{l,w,a} \le \text{BitOPs}

    Raises:
        RuntimeError: the solver gives up.
    """
    limit, pairs, names = space.limit(budget), PAIRS, list(space.sizes)
    cost = np.array([[costs[name][0][w] + costs[name][1][a] for w, a in pairs] for name in names], dtype=float)
    # In units of the common divisor, 1 and 4 for BERT, the budget holds in integers.
    unit = math.gcd(*space.sizes.values())
    sizes = np.array([size // unit for size in space.sizes.values()], dtype=float)
    bits = np.array([w * a for w, a in pairs], dtype=float)
    # The solver's tolerances are absolute. A matrix's least cost is paid in any case, so only what is above it counts.
    cost -= cost.min(axis=1, keepdims=True)
    scale = np.median(cost[cost > 0]) if (cost > 0).any() else 1.0
    each_once = kron(eye_array(len(names)), np.ones((1, len(pairs))))
    within = csr_array(np.outer(sizes, bits).reshape(1, -1))
    found = milp(
        (cost / scale).ravel(),
        integrality=np.ones(cost.size),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(each_once, 1, 1), LinearConstraint(within, ub=math.floor(limit / unit))],
        options={"mip_rel_gap": 0},
    )
    if found.x is None:
        raise RuntimeError(f"the integer program was not solved: {found.message}")
    chosen = found.x.reshape(cost.shape).argmax(axis=1)
    return {name: pairs[index] for name, index in zip(names, chosen, strict=True)}
