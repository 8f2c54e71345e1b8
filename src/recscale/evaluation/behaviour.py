"""What a model shows, beyond how often it is right: repeats, novelty, breadth.

R targets with a list of K items each. PADDING (0) fills the places of a list that is too short.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from recscale.evaluation.metrics import Bools, Floats, Ints, ndcg
from recscale.types import PADDING


def repeat_ratio(top: Ints, top_seen: Bools) -> float:
    """[R, K], [R, K] -> share of shown items that the user already had: replay."""
    return float(top_seen.sum() / (top != PADDING).sum())


def repeat_bias(top: Ints, top_seen: Bools, repeat: Bools) -> float:
    """... and repeat [R] -> how much more the model repeats than the users did.

    RepRatio - RepTrue of Tran et al. 2024, "Transformers Meet ACT-R" (PISA).
    """
    return repeat_ratio(top, top_seen) - float(repeat.mean())


def ndcg_on(rank: Floats, chosen: Bools) -> float | None:
    """rank [R], chosen [R] -> ndcg@10 of the chosen targets; None without any."""
    return float(ndcg(rank[chosen], 10).mean()) if chosen.any() else None


def novelty(top: Ints, popularity: Ints) -> float:
    """top [R, K], popularity [V] training events -> mean self-information of the lists, in bits.

    -log2 of an item's share of training events (Zhou et al. 2010, PNAS 107:4511). An item without
    a training event counts as if it had one.
    """
    shown = top[top != PADDING]
    return float(-np.log2(np.maximum(popularity[shown], 1) / popularity.sum()).mean())


def coverage(top: Ints, items: int) -> float:
    """[R, K] -> share of the catalogue's `items` that is shown to anybody."""
    return np.unique(top[top != PADDING]).size / items


def gini(top: Ints, items: int) -> float:
    """[R, K] -> inequality of exposure over the catalogue: 0 all items equal, 1 one item only."""
    counts = np.unique(top[top != PADDING], return_counts=True)[1]
    exposure = np.sort(np.r_[np.zeros(items - counts.size), counts])
    place = np.arange(1, items + 1)
    if items == 1:
        return 0.0
    # Scaled by items / (items - 1), so that one item with everything is exactly 1.
    return float((2 * place - items - 1) @ exposure / ((items - 1) * exposure.sum()))


def category_js(top: Ints, target: Ints, category: csr_matrix) -> float | None:
    """top [R, K], target [R], category [V, C] -> Jensen-Shannon divergence in bits, 0 to 1.

    Between the category mix of what is shown and of what users then chose. Items without a category
    count for nothing; None where that leaves nothing.
    """
    shown = category[top[top != PADDING]].sum(axis=0)
    chosen = category[target].sum(axis=0)
    if not shown.any() or not chosen.any():
        return None
    p, q = (np.asarray(counts).ravel() / counts.sum() for counts in (shown, chosen))
    return (_divergence(p, (p + q) / 2) + _divergence(q, (p + q) / 2)) / 2


def summary(
    top: Ints, top_seen: Bools, rank: Floats, repeat: Bools, popularity: Ints
) -> dict[str, float]:
    """Every behaviour metric that the targets define; empty without targets.

    top, top_seen [R, K]; rank, repeat [R]; popularity [V], PADDING and UNSEEN included.
    """
    if not rank.size or not (top != PADDING).any():
        return {}
    items = popularity.size - 2
    return _defined(
        {
            "repeat_ratio": repeat_ratio(top, top_seen),
            "repeat_true": float(repeat.mean()),
            "repeat_bias": repeat_bias(top, top_seen, repeat),
            "ndcg_new": ndcg_on(rank, ~repeat),
            "ndcg_repeat": ndcg_on(rank, repeat),
            "novelty": novelty(top, popularity) if popularity.any() else None,
            "coverage@10": coverage(top, items),
            "gini": gini(top, items),
        }
    )


def memory(rank: Floats, memorised: Bools) -> dict[str, float]:
    """rank, memorised [R] -> ndcg@10 where training held the very transition, and where not.

    The memorisation split of "How Well Does Generative Recommendation Generalize?" (2026), for
    transitions between items.
    """
    if not rank.size:
        return {}
    return _defined(
        {
            "memorised_true": float(memorised.mean()),
            "ndcg_memorised": ndcg_on(rank, memorised),
            "ndcg_unmemorised": ndcg_on(rank, ~memorised),
        }
    )


def _defined(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _divergence(p: Floats, q: Floats) -> float:
    """Kullback-Leibler divergence in bits; q is positive wherever p is."""
    some = p > 0
    return float(p[some] @ np.log2(p[some] / q[some]))
