"""Does `shared_signal_test` keep its level? VennVI trained on data whose pairing is shuffled, and on the true pairing.

    python docs/measure_null.py [runs]

prints how often p > .05 over the runs (40 by default), and the quartiles of p.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import scvi

import vennvi

warnings.simplefilter("ignore")
scvi.settings.verbosity = 40


def p_value(seed: int, shuffled: bool) -> float:
    """p of the held-out test, 500 samples with 100 private features a view."""
    mdata = vennvi.data.simulate_gp(500, {"view1": 100, "view2": 100}, seed=seed)
    if shuffled:
        view = mdata["view2"]
        view.X = np.random.default_rng(seed).permutation(view.X)
    scvi.settings.seed = seed
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=5, n_private=5)
    model.train(max_epochs=20, train_size=0.7, accelerator="cpu", enable_progress_bar=False)
    return float(model.shared_signal_test(n_permutations=999).p_value)


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for shuffled in (True, False):
        p = np.array([p_value(1000 + seed, shuffled) for seed in range(runs)])
        quartiles = np.quantile(p, [0.25, 0.5, 0.75]).round(3)
        print(
            f"{'shuffled' if shuffled else 'true'} pairs: p > .05 in {(p > 0.05).sum()} of {runs}; quartiles {quartiles}"
        )
