"""Adam for parameters of which a step may touch only some rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.adam import adam

from vennvi._runs import runs_of


class RowAdam(torch.optim.Adam):
    r"""Adam (Kingma & Ba 2015) that updates the rows a sparse gradient names, and leaves the others' moments alone.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Dense gradients go through torch's fused kernel; so do the rows of a sparse one (of one sparse dimension, rows in
    increasing order), run by run where they lie, so that a step costs what the rows cost. :math:`t` is then the number of updates that a row had
    on average, at least 1.

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
                    # not `coalesce`, which sorts: autograd forgets that the rows are distinct
                    rows, values = parameter.grad._indices()[0], parameter.grad._values()
                    self._update_rows(parameter, rows, values, group)
                    by_rows.append((parameter, parameter.grad))
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
        state["step"] += len(rows) / len(parameter)
        before = state["step"].clamp_min(1.0) - 1  # torch adds the 1
        runs = runs_of(rows)
        beta1, beta2 = group["betas"]
        adam(
            [parameter[run] for run, _ in runs],
            [gradient[entries] for _, entries in runs],
            [state["exp_avg"][run] for run, _ in runs],
            [state["exp_avg_sq"][run] for run, _ in runs],
            [],
            [before.clone() for _ in runs],
            fused=group["fused"], amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
            weight_decay=group["weight_decay"], eps=group["eps"], maximize=group["maximize"],
        )  # fmt: skip
