"""Where a training loop, whoever wrote it, calls out: at the start of an epoch, before and after a minibatch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vennvi.fused import Multiply, NumpyMultiply, multiplication, multiplied_by

#: Name of an event of no length in a profile, after which an optimiser's step is its own.
OPTIMISER_MARK = "speed: optimiser"
#: Name of a matrix product that torch does not make itself.
PRODUCT_MARK = "speed: matrix product"


class Enough(Exception):
    """Raised by a hook to leave a training that would go on."""


class Hooks:
    """Does nothing: the base of what listens to a training loop."""

    def epoch_starts(self) -> None:
        """Call before the first minibatch of every epoch."""

    def batch_starts(self) -> None:
        """Call before every step."""

    def batch_ends(self) -> None:
        """Call after every step, the optimiser's included."""


class LightningHooks(Callback):
    """Calls :class:`Hooks` from Lightning's loop, that is, from every scvi-tools model."""

    def __init__(self, hooks: Hooks):
        self.hooks = hooks

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Pass on."""
        self.hooks.epoch_starts()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Pass on."""
        self.hooks.batch_starts()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Mark in a profile where the optimiser's own work starts: Lightning puts the whole step into the optimiser's."""
        with torch.profiler.record_function(OPTIMISER_MARK):
            pass

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Pass on."""
        self.hooks.batch_ends()


class CountFlops(Hooks):
    """Count the floating-point operations of the matrix products of the first step.

    Those are what :class:`torch.utils.flop_counter.FlopCounterMode` knows: dense products, not the sparse first layer. All
    are torch's in that step.
    """

    def __init__(self) -> None:
        self.flops = 0
        self._counter: FlopCounterMode | None = None
        self._counting = contextlib.ExitStack()
        self._done = False

    def batch_starts(self) -> None:
        """Start counting at the first step."""
        if not self._done:
            self._counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _addmm})
            self._counting.enter_context(multiplied_by(Multiply()))
            self._counting.enter_context(self._counter)

    def batch_ends(self) -> None:
        """End counting."""
        if self._counter is not None:
            self._counting.close()
            self.flops = self._counter.get_total_flops()
            self._counter, self._done = None, True


def _addmm(added: Sequence[int], a: Sequence[int], b: Sequence[int], *args: Any, **kwargs: Any) -> int:
    """Operations of a product that is added in place, which torch's counter leaves out."""
    return 2 * a[0] * a[1] * b[1]


class _NamedProducts(NumpyMultiply):
    """Numpy's products, as a profile can see them."""

    def __call__(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        with torch.profiler.record_function(PRODUCT_MARK):
            super().__call__(a, b, out)

    def add(self, a: Tensor, b: Tensor, to: Tensor, alpha: float = 1.0) -> None:
        with torch.profiler.record_function(PRODUCT_MARK):
            super().add(a, b, to, alpha)


class ProfileSteps(Hooks):
    """Profile some steps of one epoch, loading included, then leave.

    Parameters
    ----------
    n_steps
        Steps, at most; an epoch may have fewer.
    n_skip
        Epochs to let pass first.
    """

    def __init__(self, n_steps: int, n_skip: int = 0):
        self.events: list[Any] = []
        self.seconds = 0.0
        self.n_done = 0
        self._n_steps, self._n_skip = n_steps, n_skip
        self._profiler: Any = None
        self._profiling = contextlib.ExitStack()

    def epoch_starts(self) -> None:
        """Start at the epoch after those to skip; an epoch that ends before the steps are done ends it too."""
        if self._profiler is not None:
            self._finish()
        if self._n_skip:
            self._n_skip -= 1
            return
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True)
        if isinstance(multiplication("cpu"), NumpyMultiply):
            self._profiling.enter_context(multiplied_by(_NamedProducts()))
        self._profiling.enter_context(self._profiler)
        self._start = time.perf_counter()

    def batch_ends(self) -> None:
        """Count the step; after the last one, raise :class:`Enough`."""
        if self._profiler is None:
            return
        self.n_done += 1
        self.seconds = time.perf_counter() - self._start
        if self.n_done == self._n_steps:
            self._finish()

    def _finish(self) -> None:
        self._profiling.close()
        self.events, self._profiler = list(self._profiler.events()), None
        raise Enough


def train_until_enough(train: Callable[[Hooks], None], hooks: Hooks) -> None:
    """Run a training until it ends or a hook has had enough."""
    with contextlib.suppress(Enough):
        train(hooks)
