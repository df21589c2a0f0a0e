"""Adam for parameters of which a step may touch only some rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import unwrap
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.optim.adam import adam

from vennvi._runs import lie_in_place, runs_of, shares
from vennvi.fused import LateGradient, LateRows, in_threads, n_shares, n_threads

#: About how many nanoseconds one thread takes to update a number.
_UPDATE_NS = 0.6
#: Numbers of a parameter that is dealt out to threads; torch updates all others in one go.
_MANY = 2**16


class RowAdam(torch.optim.Adam):
    r"""Adam (Kingma & Ba 2015) that updates the rows a sparse gradient names, and leaves the others' moments alone.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    The rows of a :class:`~vennvi.fused.LateGradient` are made a block at a time, each used before the next is made. Dense
    gradients go through torch's fused kernel, those of wide layers by shares of a CPU's threads; so do the rows of a
    sparse one (of one sparse dimension), on a CPU run by run where they lie, on a GPU gathered, so that a step costs what
    the rows cost; rows that come twice, as accumulated gradients have them, are added up first. :math:`t` is then the number
    of updates that a row had on average, at least 1. A gradient scaler is obeyed as torch's Adam does: fused, a step whose
    gradients overflowed changes nothing.

    Examples
    --------
    >>> import torch
    >>> w = torch.nn.Parameter(torch.zeros(3, 2))
    >>> optimizer = RowAdam([w], lr=0.1)
    >>> w.grad = torch.sparse_coo_tensor([[2]], torch.ones(1, 2), size=(3, 2), check_invariants=True)
    >>> optimizer.step()
    >>> w.data
    tensor([[ 0.0000,  0.0000],
            [ 0.0000,  0.0000],
            [-0.1000, -0.1000]])
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None):  # type: ignore[override]
        """One step; the closure, if given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        done: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            updates: list[_Update] = []
            for parameter in group["params"]:
                gradient = parameter.grad
                if isinstance(gradient, LateGradient) and self._plain(group):
                    updates.append(self._of_late(parameter, gradient.late_rows, group))
                elif gradient is not None and gradient.is_sparse:
                    gradient = _with_increasing_rows(gradient)
                    updates.append(self._of_rows(parameter, gradient._indices()[0], gradient._values(), group))
                else:
                    continue
                done.append((parameter, gradient))
                parameter.grad = None  # not torch's business
            for parameter, gradient in self._wide(group):
                updates.append(self._of_all(parameter, gradient.contiguous(), group))
                done.append((parameter, gradient))
                parameter.grad = None
            _share_out(updates)
        unwrap(torch.optim.Adam.step)(self)  # torch's wrapper would call the hooks of a step a second time
        for parameter, gradient in done:
            parameter.grad = gradient
        return loss

    def _plain(self, group: dict) -> bool:
        """Whether parts of a parameter may be updated by themselves: no scaled gradients, no variant of Adam."""
        scaled = getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None
        return group["fused"] and not (scaled or group["amsgrad"] or group.get("decoupled_weight_decay"))

    def _wide(self, group: dict) -> list[tuple[Tensor, Tensor]]:
        """Wide parameters of a CPU and their dense gradients, if updating them is worth several threads."""
        if n_threads() == 1 or not self._plain(group):
            return []
        wide = [
            (p, p.grad)
            for p in group["params"]
            if p.grad is not None and p.numel() >= _MANY and p.device.type == "cpu" and p.is_contiguous()
        ]
        return wide if n_shares(torch.device("cpu"), _UPDATE_NS * sum(p.numel() for p, _ in wide)) > 1 else []

    def _of_all(self, parameter: Tensor, gradient: Tensor, group: dict) -> _Update:
        """Update a whole parameter, contiguous."""
        state, before = self._one_step_more(parameter)
        whole = tuple(each.view(-1) for each in (parameter, gradient, state["exp_avg"], state["exp_avg_sq"]))

        def update(some: slice) -> None:
            self._adam(group, [tuple(each[some] for each in whole)], before)

        return _Update(parameter.numel(), _UPDATE_NS * parameter.numel(), update)

    def _of_late(self, parameter: Tensor, gradient: LateRows, group: dict) -> _Update:
        """Make rows of the gradient and update with them while they are in the cache."""
        state, before = self._one_step_more(parameter)
        exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]

        def update(share: slice) -> None:
            for some, rows in gradient.blocks([share]):
                self._adam(group, [(parameter[some], rows, exp_avg[some], exp_avg_sq[some])], before)

        return _Update(len(parameter), gradient.nanoseconds + _UPDATE_NS * parameter.numel(), update)

    def _of_rows(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict) -> _Update:
        """Update the rows that a sparse gradient names."""
        state = self._state_of(parameter)
        found_inf = getattr(self, "found_inf", None)  # handed over by a scaler for the time of a step
        share = len(rows) / len(parameter)
        state["step"] += share if found_inf is None else share * (found_inf == 0)
        before = state["step"].clamp_min(1.0) - 1  # torch adds the 1
        whole = parameter, state["exp_avg"], state["exp_avg_sq"]
        in_place = lie_in_place(parameter.device)
        runs = runs_of(rows) if in_place else []

        def update(some: slice) -> None:
            parts = []
            for run, own in runs:
                start, stop = max(some.start, own.start), min(some.stop, own.stop)
                if start < stop:
                    of_run = slice(run.start + start - own.start, run.start + stop - own.start)
                    w, exp_avg, exp_avg_sq = (each[of_run] for each in whole)
                    parts.append((w, gradient[start:stop], exp_avg, exp_avg_sq))
            self._adam(group, parts, before)

        def update_copies(_: slice) -> None:
            w, exp_avg, exp_avg_sq = (each.index_select(0, rows) for each in whole)
            self._adam(group, [(w, gradient, exp_avg, exp_avg_sq)], before)
            for each, updated in zip(whole, (w, exp_avg, exp_avg_sq), strict=True):
                each.index_copy_(0, rows, updated)

        if in_place:
            return _Update(len(rows), _UPDATE_NS * gradient.numel(), update)
        return _Update(1, 0.0, update_copies)

    def _one_step_more(self, parameter: Tensor) -> tuple[dict, Tensor]:
        """State of a parameter, its step counted, and the steps before."""
        state = self._state_of(parameter)
        before = state["step"].clone()
        state["step"] += 1
        return state, before

    def _state_of(self, parameter: Tensor) -> dict:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state

    def _adam(self, group: dict, parts: Sequence[tuple[Tensor, ...]], before: Tensor) -> None:
        """Torch's functional Adam on parts of a parameter: numbers, gradients and both moments, after so many steps."""
        parameters, gradients, exp_avgs, exp_avg_sqs = map(list, zip(*parts, strict=True))
        beta1, beta2 = group["betas"]
        adam(
            parameters, gradients, exp_avgs, exp_avg_sqs, [], [before.clone() for _ in parts],
            fused=group["fused"], amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=group["maximize"],
            grad_scale=getattr(self, "grad_scale", None), found_inf=getattr(self, "found_inf", None),
        )  # fmt: skip


@dataclass(frozen=True)
class _Update:
    """An update of so many rows, how long one thread takes over it, and how to do some of it."""

    n_rows: int
    nanoseconds: float
    some: Callable[[slice], None]


def _share_out(updates: Sequence[_Update]) -> None:
    """Do all updates, by as many threads as are worth it: end to end, a thread does as long a part as the others."""
    if not updates:
        return
    ends = list(accumulate((max(round(update.nanoseconds), 1) for update in updates), initial=0))

    def work(share: Sequence[slice]) -> None:
        for part in share:
            k = bisect_right(ends, part.start) - 1
            length, n_rows = ends[k + 1] - ends[k], updates[k].n_rows
            rows = slice((part.start - ends[k]) * n_rows // length, (part.stop - ends[k]) * n_rows // length)
            if rows.start < rows.stop:
                updates[k].some(rows)

    n = n_shares(torch.device("cpu"), ends[-1])
    in_threads(work, shares([slice(i, j) for i, j in pairwise(ends)], n))


def _with_increasing_rows(gradient: Tensor) -> Tensor:
    """A sparse gradient as it is if its rows increase, as one backward pass leaves them; autograd forgets that they do."""
    rows = gradient._indices()[0]
    return gradient.coalesce() if (rows[1:] <= rows[:-1]).any() else gradient
