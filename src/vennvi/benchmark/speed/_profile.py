"""Where the time of a step goes: a profile's events summed by what they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vennvi.benchmark.speed._hooks import OPTIMISER_MARK, PRODUCT_MARK

#: Categories in the order of tables.
CATEGORIES = (
    "matrix products",
    "sparse first layer",
    "elementwise",
    "sums",
    "copies",
    "optimiser",
    "loading",
    "Python and the rest",
)

_PRODUCTS = {
    PRODUCT_MARK,
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "addmv",
    "mv",
    "dot",
    "linear",
    "matmul",
    "mkldnn_linear",
    "_addmm_activation",
}
_SPARSE = ("embedding", "sparse_", "index_add", "repeat_interleave")
_COPIES = (
    "copy", "clone", "contiguous", "cat", "stack", "to_dense", "_to_dense", "_to_copy", "to", "zero", "zeros", "fill", "ones",
    "empty", "resize", "index", "index_select", "gather", "scatter", "slice", "select", "split", "chunk", "new_", "full",
    "masked_fill", "nonzero", "expand",
)  # fmt: skip
_SUMS = ("sum", "mean", "logsumexp", "max", "amax", "min", "amin", "prod", "norm", "all", "any", "_softmax", "_log_softmax",
         "native_layer_norm", "native_batch_norm", "isfinite")  # fmt: skip
_IN_OPTIMISER = ("Optimizer.step", "Optimizer.zero_grad", "aten::_fused_adam", "aten::_foreach_")
_IN_LOADING = ("enumerate(DataLoader)", "[pl][profile][_TrainingEpochLoop]", "DataLoader")


def category_of(name: str, ancestors: Iterable[str] = ()) -> str:
    """Category of an event by its name and those of the events that it lies in.

    Examples
    --------
    >>> category_of("aten::addmm"), category_of("aten::lerp_", ["Optimizer.step#AdamW.step"])
    ('matrix products', 'optimiser')
    >>> category_of("aten::softplus_backward"), category_of("autograd::engine::evaluate_function: MmBackward0")
    ('elementwise', 'Python and the rest')
    """
    around = [name, *ancestors]
    op = name.removeprefix("aten::")
    is_product, is_sparse = op.rstrip("_") in _PRODUCTS, op.lstrip("_").startswith(_SPARSE)
    if any(known in each for each in around for known in _IN_OPTIMISER):  # there products are vennvi's late gradient
        return "sparse first layer" if is_product or is_sparse else "optimiser"
    if any(each.startswith(_IN_LOADING) for each in around):
        return "loading"
    if any("InputProduct" in each for each in around):  # vennvi.fused.input_product
        return "sparse first layer"
    if is_product:
        return "matrix products"
    if not name.startswith("aten::"):
        return "Python and the rest"
    if is_sparse:
        return "sparse first layer"
    bare = op.strip("_")
    if any(bare == known.strip("_") or bare.startswith(known.strip("_") + "_") for known in _COPIES):
        return "copies"
    if any(bare == known.strip("_") or bare.startswith(known.strip("_") + "_") for known in _SUMS):
        return "sums"
    return "elementwise"


def seconds_by_category(events: Iterable[Any], seconds: float, n_steps: int) -> dict[str, float]:
    """Seconds a step by category: the events' own time, and what is left of the clock's.

    Parameters
    ----------
    events
        Of :meth:`torch.profiler.profile.events`.
    seconds
        By the clock, over all steps.
    n_steps
        Steps.
    """
    events = list(events)
    whole_steps = _whole_steps(events)
    found = dict.fromkeys(CATEGORIES, 0.0)
    for event in events:
        found[_category(event, whole_steps)] += event.self_cpu_time_total * 1e-6
    rest = "Python and the rest"
    found[rest] = max(0.0, seconds - sum(value for name, value in found.items() if name != rest))
    return {name: value / n_steps for name, value in found.items()}


def _category(event: Any, whole_steps: dict[int, float]) -> str:
    names = []
    for each in _ancestors(event):
        if id(each) not in whole_steps:
            names.append(each.name)
        elif event.time_range.start >= whole_steps[id(each)]:
            return category_of(event.name, [*names, each.name])
    return category_of("" if id(event) in whole_steps else event.name, names)


def _whole_steps(events: Iterable[Any]) -> dict[int, float]:
    """Steps of optimisers that the whole training step lies in, and when the optimiser's own work starts in each."""
    return {
        id(each): event.time_range.end
        for event in events
        if event.name == OPTIMISER_MARK
        for each in _ancestors(event)
        if each.name.startswith("Optimizer.step")
    }


def _ancestors(event: Any) -> Iterator[Any]:
    while (event := event.cpu_parent) is not None:
        yield event
