"""Adam for parameters of which a step may touch only some rows."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
            for parameter in group["params"]:
                gradient = parameter.grad
                if isinstance(gradient, LateGradient) and self._plain(group):
                    self._update_late(parameter, gradient.late_rows, group)
                elif gradient is not None and gradient.is_sparse:
                    gradient = _with_increasing_rows(gradient)
                    self._update_rows(parameter, gradient._indices()[0], gradient._values(), group)
                else:
                    continue
                done.append((parameter, gradient))
                parameter.grad = None  # not torch's business
            done += self._update_wide(group)
        super().step()
        for parameter, gradient in done:
            parameter.grad = gradient
        return loss

    def _plain(self, group: dict) -> bool:
        """Whether parts of a parameter may be updated by themselves: no scaled gradients, no variant of Adam."""
        scaled = getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None
        return group["fused"] and not (scaled or group["amsgrad"] or group.get("decoupled_weight_decay"))

    def _update_wide(self, group: dict) -> list[tuple[Tensor, Tensor]]:
        """Update wide parameters of a CPU, if that is worth several threads; returns, and takes from them, the gradients used."""
        if n_threads() == 1 or not self._plain(group):
            return []
        wide = [p for p in group["params"] if p.numel() >= _MANY and p.device.type == "cpu" and p.grad is not None]
        if n_shares(torch.device("cpu"), _UPDATE_NS * sum(p.numel() for p in wide)) == 1:
            return []
        used, updates = [], []
        for parameter in wide:
            state = self._state_of(parameter)
            whole = (parameter, parameter.grad.contiguous(), state["exp_avg"], state["exp_avg_sq"])
            updates.append(_Update(whole, state["step"].clone()))
            used.append((parameter, parameter.grad))
            state["step"] += 1
            parameter.grad = None
        self._update(group, updates)
        return used

    def _update_late(self, parameter: Tensor, gradient: LateRows, group: dict) -> None:
        """Make rows of the gradient and update with them while they are in the cache."""
        state = self._state_of(parameter)
        exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]

        def update(share: list[slice]) -> None:
            for some, rows in gradient.blocks(share):
                held = (parameter[some], rows, exp_avg[some], exp_avg_sq[some])
                self._adam(group, [_Update(held, state["step"])])

        nanoseconds = gradient.nanoseconds + _UPDATE_NS * parameter.numel()
        in_threads(update, shares([slice(0, len(parameter))], n_shares(parameter.device, nanoseconds)))
        state["step"] += 1

    def _update_rows(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict) -> None:
        state = self._state_of(parameter)
        found_inf = getattr(self, "found_inf", None)  # handed over by a scaler for the time of a step
        share = len(rows) / len(parameter)
        state["step"] += share if found_inf is None else share * (found_inf == 0)
        before = state["step"].clamp_min(1.0) - 1  # torch adds the 1
        whole: tuple[Tensor, ...] = (parameter, state["exp_avg"], state["exp_avg_sq"])
        held = whole
        in_place = lie_in_place(parameter.device)
        runs = runs_of(rows) if in_place else [(slice(None), slice(None))]
        if not in_place:
            held = tuple(each.index_select(0, rows) for each in whole)
        self._update(
            group,
            [_Update((held[0][run], gradient[own], held[1][run], held[2][run]), before) for run, own in runs],
        )
        if not in_place:
            for each, updated in zip(whole, held, strict=True):
                each.index_copy_(0, rows, updated)

    def _state_of(self, parameter: Tensor) -> dict:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state

    def _update(self, group: dict, updates: Sequence[_Update]) -> None:
        """Update by as many threads as are worth it."""
        if not updates:
            return
        bounds = list(accumulate((u.tensors[0].numel() for u in updates), initial=0))  # of their numbers, end to end
        n = n_shares(updates[0].tensors[0].device, _UPDATE_NS * bounds[-1])
        if n == 1 or not all(each.is_contiguous() for u in updates for each in u.tensors):
            self._adam(group, updates)
            return

        def cut(piece: slice) -> _Update:
            k = bisect_right(bounds, piece.start) - 1
            own = slice(piece.start - bounds[k], piece.stop - bounds[k])
            return _Update(tuple(each.view(-1)[own] for each in updates[k].tensors), updates[k].before)

        dealt = shares([slice(i, j) for i, j in pairwise(bounds)], n)
        in_threads(functools.partial(self._adam, group), [[cut(piece) for piece in share] for share in dealt])

    def _adam(self, group: dict, updates: Sequence[_Update]) -> None:
        """Torch's functional Adam."""
        parameters, gradients, exp_avgs, exp_avg_sqs = map(list, zip(*(u.tensors for u in updates), strict=True))
        beta1, beta2 = group["betas"]
        adam(
            parameters, gradients, exp_avgs, exp_avg_sqs, [], [u.before.clone() for u in updates],
            fused=group["fused"], amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=group["maximize"],
            grad_scale=getattr(self, "grad_scale", None), found_inf=getattr(self, "found_inf", None),
        )  # fmt: skip


@dataclass(frozen=True)
class _Update:
    """Parameter, gradient and both moments of some rows, after so many steps."""

    tensors: tuple[Tensor, ...]
    before: Tensor


def _with_increasing_rows(gradient: Tensor) -> Tensor:
    """A sparse gradient as it is if its rows increase, as one backward pass leaves them; autograd forgets that they do."""
    rows = gradient._indices()[0]
    return gradient.coalesce() if (rows[1:] <= rows[:-1]).any() else gradient
