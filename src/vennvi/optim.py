"""Adam for parameters of which a step may touch only some rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.adam import adam

from vennvi._runs import lie_in_place, runs_of


class RowAdam(torch.optim.Adam):
    r"""Adam (Kingma & Ba 2015) that updates the rows a sparse gradient names, and leaves the others' moments alone.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Dense gradients go through torch's fused kernel; so do the rows of a sparse one (of one sparse dimension), on a CPU run by
    run where they lie, on a GPU gathered, so that a step costs what the rows cost; rows that come twice, as accumulated
    gradients have them, are added up first. :math:`t` is then the number of updates that a row had on average, at least 1. A gradient scaler is
    obeyed as torch's Adam does: fused, a step whose gradients overflowed changes nothing.

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
        by_rows: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    gradient = _with_increasing_rows(parameter.grad)
                    self._update_rows(parameter, gradient._indices()[0], gradient._values(), group)
                    by_rows.append((parameter, gradient))
                    parameter.grad = None  # not torch's business
        super().step()
        for parameter, gradient in by_rows:
            parameter.grad = gradient
        return loss

    def _update_rows(self, parameter: Tensor, rows: Tensor, gradient: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        # handed over by a scaler for the time of a step
        grad_scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        share = len(rows) / len(parameter)
        state["step"] += share if found_inf is None else share * (found_inf == 0)
        before = state["step"].clamp_min(1.0) - 1  # torch adds the 1
        whole: tuple[Tensor, ...] = (parameter, state["exp_avg"], state["exp_avg_sq"])
        held = whole
        in_place = lie_in_place(parameter.device)
        runs = runs_of(rows) if in_place else [(slice(None), slice(None))]
        if not in_place:
            held = tuple(each.index_select(0, rows) for each in whole)
        beta1, beta2 = group["betas"]
        adam(
            [held[0][run] for run, _ in runs],
            [gradient[entries] for _, entries in runs],
            [held[1][run] for run, _ in runs],
            [held[2][run] for run, _ in runs],
            [],
            [before.clone() for _ in runs],
            fused=group["fused"], amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=group["maximize"],
            grad_scale=grad_scale, found_inf=found_inf,
        )  # fmt: skip
        if not in_place:
            for each, updated in zip(whole, held, strict=True):
                each.index_copy_(0, rows, updated)


def _with_increasing_rows(gradient: Tensor) -> Tensor:
    """A sparse gradient as it is if its rows increase, as one backward pass leaves them; autograd forgets that they do."""
    rows = gradient._indices()[0]
    return gradient.coalesce() if (rows[1:] <= rows[:-1]).any() else gradient
