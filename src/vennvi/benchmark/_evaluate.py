"""From the latent spaces of a trained model to result rows: space, target, metric, value.

Metrics that end in ``_test`` are fitted on the training samples and read on the held-out ones; ``knn_r2`` is
cross-validated over all samples, as the reference defines it. ``<metric>_null`` is what no information reads.

====================== ============================== =========================================================
space                  target                         metrics
====================== ============================== =========================================================
each latent space      a label                        ``auc_test``, ``accuracy_test``, ``purity_test`` (15 neighbours)
                                                      and its ``_null``
each latent space      ``shared factor``,             ``knn_r2``, ``knn_r2_null``, ``knn_r2_test``
                       ``private factor:<modality>``
each latent space      a nuisance such as log depth   ``linear_r2_test``, ``knn_r2_test``
``shared``             ``private factors``            the largest over the modalities (contamination)
``private``            ``own private factor``         the mean over the modalities (recovery)
``private``            ``shared factor``              the largest over the modalities (leak)
``shared``             ``other views``                ``foscttm_test``, ``recall10_test`` and their ``_null``, of the
                                                      unimodal shared latents, means over pairs of modalities;
                                                      ``signal_test``, ``signal_test_p``: the test of a shared signal
``private:<modality>`` ``joint shared latents``,      ``linear_r2_test``, ``knn_r2_test``
                       ``data:<other modality>``
``predict:<source>``   ``data:<modality>``            ``deviance_explained_test`` (R² for real values)
``classifier``         the first label                ``auc_test``, ``accuracy_test`` of a supervised model
``model``              (empty)                        what the adapter counted, such as ``n_shared_factors``
====================== ============================== =========================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, roc_auc_score

from vennvi.benchmark._data import BenchmarkData
from vennvi.benchmark._views import real_view
from vennvi.benchmark.adapters import Fit, private_space, shared_space
from vennvi.metrics import (
    alignment,
    deviance_explained,
    factor_recovery,
    leakage,
    linear_probe,
    neighbour_purity,
    predictability,
    shared_signal,
)
from vennvi.metrics._shared_signal import MIN_PAIRS

#: Space, target, metric, value.
Row = tuple[str, str, str, float]

_N_COMPONENTS = 20
_N_PERMUTATIONS = 999
_FAMILIES = {"normal": "normal", "bernoulli": "bernoulli", "poisson": "poisson", "nb": "poisson", "zinb": "poisson"}


def evaluate(fit: Fit, data: BenchmarkData) -> pd.DataFrame:
    """All result rows of one trained model.

    Raises
    ------
    ValueError
        If a latent space does not have one row a sample, or holds values that are not finite.
    """
    for space, latent in fit.spaces.items():
        if len(latent) != data.mdata.n_obs:
            raise ValueError(f"Space {space!r} has {len(latent)} rows for {data.mdata.n_obs} samples.")
        if not np.isfinite(latent).all():
            raise ValueError(f"Space {space!r} holds values that are not finite: the training diverged.")
    rows = [
        *_labels(fit, data),
        *_factors(fit, data),
        *_nuisances(fit, data),
        *_alignment(fit, data),
        *_leakage(fit, data),
        *_predictions(fit, data),
        *_classifier(fit, data),
        *(("model", "", name, value) for name, value in fit.numbers.items()),
    ]
    return pd.DataFrame(rows, columns=["space", "target", "metric", "value"])


def _labels(fit: Fit, data: BenchmarkData) -> Iterator[Row]:
    for label in data.labels:
        truth = data.label(label)
        for space, latent in fit.spaces.items():
            probe = linear_probe(latent, truth, data.train, data.test)
            yield space, label, "auc_test", probe.auc
            yield space, label, "accuracy_test", probe.accuracy
            near = neighbour_purity(latent[data.test], truth[data.test])
            yield space, label, "purity_test", near.purity
            yield space, label, "purity_test_null", near.no_information


def _factors(fit: Fit, data: BenchmarkData) -> Iterator[Row]:
    if data.shared_factor is None:
        return
    factors = {"shared factor": data.shared_factor}
    factors |= {f"private factor:{m}": factor for m, factor in data.private_factors.items()}
    found: dict[tuple[str, str], dict[str, float]] = {}
    for space, latent in fit.spaces.items():
        for target, factor in factors.items():
            recovery = factor_recovery(latent, factor)
            found[space, target] = {
                "knn_r2": recovery.r2,
                "knn_r2_null": recovery.no_information,
                "knn_r2_test": predictability(latent, factor, data.train, data.test).knn,
            }
            for metric, value in found[space, target].items():
                yield space, target, metric, value

    modalities = [m for m in data.modalities if m in data.private_factors]
    privates = [m for m in modalities if private_space(m) in fit.spaces]
    if "shared" in fit.spaces:
        contamination = [found["shared", f"private factor:{m}"] for m in modalities]
        yield from _combined("shared", "private factors", contamination, max)
    own = [found[private_space(m), f"private factor:{m}"] for m in privates]
    yield from _combined("private", "own private factor", own, np.mean)
    leaks = [found[private_space(m), "shared factor"] for m in privates]
    yield from _combined("private", "shared factor", leaks, max)


def _combined(space: str, target: str, scores: list[dict[str, float]], combine) -> Iterator[Row]:
    if scores:
        for metric in scores[0]:
            yield space, target, metric, float(combine([score[metric] for score in scores]))


def _nuisances(fit: Fit, data: BenchmarkData) -> Iterator[Row]:
    for target, values in data.nuisances.items():
        for space, latent in fit.spaces.items():
            r2 = predictability(latent, values, data.train, data.test)
            yield space, target, "linear_r2_test", r2.ridge
            yield space, target, "knn_r2_test", r2.knn


def _alignment(fit: Fit, data: BenchmarkData) -> Iterator[Row]:
    if "shared" not in fit.spaces:
        return
    spaces = {m: fit.spaces[shared_space(m)][data.test] for m in data.modalities if shared_space(m) in fit.spaces}
    pairs = [alignment(a, b) for a, b in combinations(spaces.values(), 2)]
    if pairs:
        for metric, name in (
            ("foscttm_test", "foscttm"),
            ("foscttm_test_null", "foscttm_null"),
            ("recall10_test", "recall"),
            ("recall10_test_null", "recall_null"),
        ):
            yield "shared", "other views", metric, float(np.mean([getattr(pair, name) for pair in pairs]))
        if len(data.test) >= MIN_PAIRS:
            signal = shared_signal(spaces, n_permutations=_N_PERMUTATIONS)
            yield "shared", "other views", "signal_test", signal.statistic
            yield "shared", "other views", "signal_test_p", signal.p_value


def _leakage(fit: Fit, data: BenchmarkData) -> Iterator[Row]:
    private = {m: fit.spaces[private_space(m)] for m in data.modalities if private_space(m) in fit.spaces}
    if not private or "shared" not in fit.spaces:
        return
    components = {m: _components(data, m) for m in data.modalities}
    table = leakage(private, fit.spaces["shared"], components, data.train, data.test)
    metrics = {"r2_ridge": "linear_r2_test", "r2_knn": "knn_r2_test"}
    for source, target, metric, value in table[["source", "target", "metric", "value"]].itertuples(index=False):
        what = "joint shared latents" if target == "shared" else f"data:{target}"
        yield private_space(source), what, metrics[metric], value


def _components(data: BenchmarkData, modality: str) -> NDArray[np.floating]:
    view = real_view(data, modality)
    n_components = min(_N_COMPONENTS, len(data.train) - 1, view.shape[1])
    return PCA(n_components, random_state=0).fit(view[data.train]).transform(view)


def _predictions(fit: Fit, data: BenchmarkData) -> Iterator[Row]:
    for (source, target), predicted in fit.predictions.items():
        truth = data.mdata[target].X[data.test]
        family = _FAMILIES[data.likelihoods[target]]
        size = None
        if family == "poisson":  # the depth is given to the models, so it earns nothing
            size = np.maximum(np.asarray(truth.sum(axis=1), dtype=np.float64).ravel(), 1.0)
        explained = deviance_explained(truth, predicted, family, size_factor=size)  # type: ignore[arg-type]
        yield f"predict:{source}", f"data:{target}", "deviance_explained_test", explained.total


def _classifier(fit: Fit, data: BenchmarkData) -> Iterator[Row]:
    if fit.label_probabilities is None:
        return
    label, probabilities = data.labels[0], fit.label_probabilities
    truth = data.label(label)[data.test]
    known = np.array([value is not None for value in truth])
    truth, values = truth[known], probabilities.to_numpy()[known]
    classes = probabilities.columns.astype(str).to_numpy()
    yield "classifier", label, "accuracy_test", float(accuracy_score(truth, classes[values.argmax(axis=1)]))
    present = [i for i, name in enumerate(classes) if 0 < np.mean(truth == name) < 1]
    columns = present[-1:] if len(classes) == 2 else present
    auc = [roc_auc_score(truth == classes[i], values[:, i]) for i in columns]
    yield "classifier", label, "auc_test", float(np.mean(auc)) if auc else np.nan
