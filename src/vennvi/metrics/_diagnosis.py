"""The leakage report: is shared shared and private private, in one table and a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vennvi.metrics._alignment import alignment
from vennvi.metrics._arrays import Array, as_matrix, as_rows, complete_rows
from vennvi.metrics._leakage import average_r2, leakage, predictability, predictions
from vennvi.metrics._probe import probe_matrix
from vennvi.metrics._shared_signal import MIN_PAIRS, shared_signal

#: FOSCTTM up to which two modalities agree well, and from which on they hardly do (0.5 is chance).
ALIGNED, UNALIGNED = 0.2, 0.4
#: Level of the test of a shared signal.
SIGNIFICANT = 0.05
#: R² from which on a private space knows what it should not.
LEAK_R2 = 0.1
#: AUC from which on a label can be read from a space at all (0.5 is chance).
READABLE_AUC = 0.7
#: AUC by which a single modality may be ahead of the joint latents before it is said.
DILUTED_AUC = 0.02
#: R² of depth, and AUC of the batch, from which on a space follows them.
COVARIATE_R2, COVARIATE_AUC = 0.2, 0.7
#: Mean KL divergence from the prior, in nats, from which on a dimension is used.
ACTIVE_KL = 0.05
#: Folds of what is fitted within the test rows.
N_FOLDS = 5
#: R² with which a space should be predicted from that of another run.
STABLE_R2 = 0.8

COLUMNS = ("topic", "space", "target", "metric", "value", "n_train", "n_test")


@dataclass(frozen=True)
class Diagnosis:
    """What was measured, and what it means."""

    table: pd.DataFrame
    """One row a measurement: ``topic``, ``space``, ``target``, ``metric``, ``value``, ``n_train``, ``n_test``."""
    verdicts: tuple[str, ...]
    """One sentence a finding, ``"ok: ..."`` or ``"check: ..."``; the latter say what to do next."""

    def __str__(self) -> str:
        return "\n".join(self.verdicts)

    @property
    def n_checks(self) -> int:
        """Number of findings that ask for something."""
        return sum(verdict.startswith("check: ") for verdict in self.verdicts)


def diagnose(
    unimodal: Mapping[str, ArrayLike],
    joint: ArrayLike,
    private: Mapping[str, ArrayLike],
    train: ArrayLike,
    test: ArrayLike,
    *,
    components: Mapping[str, ArrayLike] | None = None,
    labels: Mapping[str, ArrayLike] | None = None,
    covariates: Mapping[str, ArrayLike] | None = None,
    kl: Mapping[str, ArrayLike] | None = None,
    others: Sequence[Mapping[str, ArrayLike]] = (),
    n_permutations: int = 200,
    seed: int = 0,
) -> Diagnosis:
    """Ask of latent spaces whether shared is shared and private is private.

    ============= =====================================================================================================
    topic         measured on the test rows, by what is fitted on the training rows
    ============= =====================================================================================================
    ``alignment`` of every two modalities' shared latents: ``foscttm``, ``recall_at_10``, both on shuffled pairs
                  (``_null``), and the ``p_value`` of :func:`shared_signal`
    ``leakage``   R² of the joint shared latents and of the other modalities' components from every private space
    ``probe``     every label from every space: ``auc`` and ``accuracy``, or R² of numbers
    ``covariate`` the same of batch and log depth
    ``activity``  ``kl`` of every dimension, and ``n_active`` of every space
    ``stability`` R² of every space from the same space of every other run, or back: the lower of the two
    ============= =====================================================================================================

    A model places the cells it was trained on unlike others: it has memorised what they share. A space that is predicted
    from another as learned on such rows may look unpredictable without being so. Leakage and stability are therefore
    measured within the test rows as well (metrics that end in ``_held_out``: each fifth predicted from the other four),
    and judged by the higher value.

    A verdict is ``check`` where the modalities agree no more than shuffled pairs do (p above .05) or hardly (FOSCTTM above .4;
    up to .2 they agree, between in part); where a private space predicts the joint shared latents or another modality (R²
    of .1); where a label is read from shared and private spaces (AUC of .7 or, for numbers, R² of .1), or from one
    modality's shared latents better than from the joint ones (by .02); where a space follows the batch (AUC of .7) or depth
    (R² of .2); where all or none of the dimensions are used (.05 nats); and where two runs differ (R² below .8).

    Parameters
    ----------
    unimodal
        Shared latents that each modality alone infers, rows x dimensions, by modality; NaN rows where it is absent.
    joint
        Joint shared latents, rows x dimensions.
    private
        Private latents, by modality.
    train, test
        Positions of rows or boolean masks, which may not overlap.
    components
        Principal components of each modality's data.
    labels
        Labels or numbers that the user knows of the rows, by name.
    covariates
        What should be in no space, by name: categories, or numbers such as log depths.
    kl
        Mean KL divergence of each dimension from the prior, by space: ``"shared"`` and ``"private <modality>"``.
    others
        Spaces of other runs on the same rows, by the same names: ``"shared"`` and ``"private <modality>"``.
    n_permutations
        Permutations of the test of a shared signal.
    seed
        Seed of all shuffles.

    Returns
    -------
    :class:`Diagnosis`.

    Raises
    ------
    ValueError
        If the arrays do not have the same rows, or train and test overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import diagnose
    >>> rng = np.random.default_rng(0)
    >>> shared, own = rng.normal(size=(600, 2)), rng.normal(size=(600, 2))
    >>> leaky = np.hstack([own, shared[:, :1]])
    >>> diagnosis = diagnose(
    ...     {"rna": shared, "atac": shared}, shared, {"rna": leaky, "atac": own}, np.arange(400), np.arange(400, 600)
    ... )
    >>> for verdict in diagnosis.verdicts:
    ...     print(verdict.partition(" with ")[0].partition(" (")[0])
    ok: rna and atac agree on the shared space
    check: private rna predicts the joint shared latents
    ok: private atac does not know the joint shared latents
    """
    spaces = {"shared": joint} | {f"shared {m}": z for m, z in unimodal.items()}
    spaces |= {f"private {m}": z for m, z in private.items()}
    parts = [
        _alignment(unimodal, test, n_permutations, seed),
        _leakage(private, joint, components or {}, train, test, seed),
        _probes("probe", spaces, labels or {}, train, test),
        _probes("covariate", spaces, covariates or {}, train, test),
        _activity(kl or {}),
        _stability(spaces, others, train, test, seed),
    ]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return Diagnosis(table, tuple(verdicts(table)))


# ---------------------------------------------------------------------------------------------------- measurements
def _table(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows_of(latents: Mapping[str, ArrayLike], rows: ArrayLike) -> dict[str, np.ndarray]:
    return {name: np.asarray(values)[np.asarray(rows)] for name, values in latents.items()}


def _alignment(unimodal: Mapping[str, ArrayLike], test: ArrayLike, n_permutations: int, seed: int) -> pd.DataFrame:
    latents = _rows_of(unimodal, test)
    rows: list[tuple] = []
    for a, b in combinations(latents, 2):
        score = alignment(latents[a], latents[b], seed=seed)
        values = {
            "foscttm": score.foscttm,
            "foscttm_null": score.foscttm_null,
            "recall_at_10": score.recall,
            "recall_at_10_null": score.recall_null,
        }
        if score.n_obs >= MIN_PAIRS:
            pair = {a: latents[a], b: latents[b]}
            values["p_value"] = shared_signal(pair, n_permutations=n_permutations, seed=seed).p_value
        rows += [("alignment", f"shared {a}", f"shared {b}", k, v, 0, score.n_obs) for k, v in values.items()]
    return _table(rows)


def _leakage(private, joint, components, train, test, seed) -> pd.DataFrame:
    found = leakage(private, joint, components, train, test)
    found = found.assign(topic="leakage", space="private " + found["source"].astype(str))
    rows: list[tuple] = []
    for m, latent in private.items():
        targets = {"shared": joint} | {other: values for other, values in components.items() if other != m}
        for target, values in targets.items():
            rows += _cross_fitted(("leakage", f"private {m}", target), latent, values, test, seed)
    return pd.concat([found[list(COLUMNS)], _table(rows)]) if rows else found[list(COLUMNS)]


def _cross_fitted(
    name: tuple[str, str, str], source: ArrayLike, target: ArrayLike, test: ArrayLike, seed: int
) -> list[tuple]:
    """R² within the test rows, each fifth predicted by what is fitted on the other four: rows of the table.

    One R² of all rows: that of a fifth of few rows says nothing, nor does the mean of five.
    """
    sources, targets = as_matrix(source, "source"), as_matrix(target, "target")
    held_out = as_rows(test, len(sources), "test")
    held_out = held_out[complete_rows(sources[held_out], targets[held_out])]
    if len(held_out) < 2 * N_FOLDS:
        return []
    folds = np.array_split(np.random.default_rng(seed).permutation(held_out), N_FOLDS)
    predicted: list[tuple[Array, Array]] = []
    for k, fold in enumerate(folds):
        others = np.concatenate(folds[:k] + folds[k + 1 :])
        predicted.append(predictions(sources[others], targets[others], sources[fold]))
    truth, n_train = targets[np.concatenate(folds)], len(held_out) - len(folds[0])
    return [
        (*name, metric, average_r2(truth, np.concatenate(parts), "variance"), n_train, len(held_out))
        for metric, parts in zip(("r2_ridge_held_out", "r2_knn_held_out"), zip(*predicted, strict=True), strict=True)
    ]


def _probes(topic: str, spaces, targets, train, test) -> pd.DataFrame:
    return probe_matrix(spaces, targets, train, test).assign(topic=topic)[list(COLUMNS)]


def _activity(kl: Mapping[str, ArrayLike]) -> pd.DataFrame:
    rows: list[tuple] = []
    for space, values in kl.items():
        values = np.asarray(values, dtype=np.float64)
        rows += [("activity", space, f"dimension {j}", "kl", float(v), 0, 0) for j, v in enumerate(values)]
        rows.append(("activity", space, "", "n_active", float((values >= ACTIVE_KL).sum()), 0, 0))
        rows.append(("activity", space, "", "n_dimensions", float(len(values)), 0, 0))
    return _table(rows)


def _stability(spaces, others, train, test, seed) -> pd.DataFrame:
    rows: list[tuple] = []
    for run, other in enumerate(others):
        for space, theirs in other.items():
            if space not in spaces:
                continue  # a run with a private space that this one has not
            ours, name = spaces[space], ("stability", space, f"run {run + 1}")
            both = [predictability(a, b, train, test, average="variance") for a, b in ((ours, theirs), (theirs, ours))]
            worst = min(both, key=lambda score: score.ridge)
            rows.append((*name, "r2_ridge", worst.ridge, worst.n_train, worst.n_test))
            found = [_cross_fitted(name, a, b, test, seed)[:1] for a, b in ((ours, theirs), (theirs, ours))]
            rows += sorted((row for part in found for row in part), key=lambda row: row[4])[:1]
    return _table(rows)


# --------------------------------------------------------------------------------------------------------- verdicts
def verdicts(table: pd.DataFrame) -> Iterator[str]:
    """Sentences about a table of measurements, topic by topic."""
    for topic, speak in _SPEAKERS.items():
        rows = table[table["topic"] == topic]
        if len(rows):
            yield from speak(rows)


def _number(value: float, limit: float = np.nan) -> str:
    """Two decimals without the zero before them, more if they would put it on the other side of a limit; zero has no sign.

    Examples
    --------
    >>> _number(0.0981), _number(0.0981, limit=0.1), _number(-0.001)
    ('.10', '.098', '.00')
    """
    digits = next((d for d in (2, 3, 4) if np.isnan(limit) or (round(value, d) >= limit) == (value >= limit)), 5)
    text = f"{value:.{digits}f}".replace("-0.00", "0.00")
    return text.replace("0.", ".", 1) if abs(value) < 1 and text not in ("1.00", "-1.00") else text


def _say_alignment(rows: pd.DataFrame) -> Iterator[str]:
    for (a, b), pair in rows.groupby(["space", "target"], sort=False):
        score = pair.set_index("metric")["value"]
        names = f"{a.removeprefix('shared ')} and {b.removeprefix('shared ')}"
        p_value = score.get("p_value", np.nan)
        measured = f"FOSCTTM {_number(score['foscttm'])}, shuffled {_number(score['foscttm_null'])}, p {p_value:.2g}"
        if not np.isfinite(p_value):
            yield f"check: {names} have fewer than {MIN_PAIRS} held-out cells in common: hold out more."
        elif p_value > SIGNIFICANT:
            yield (
                f"check: {names} agree no more than shuffled pairs do ({measured}): do not read the shared space as shared. "
                "Are the cells paired? Else train longer, raise `alignment_weight`, or hold out more cells."
            )
        elif score["foscttm"] > UNALIGNED:
            yield (
                f"check: {names} agree a little ({measured}): there is a shared signal, which hardly shapes the space. "
                "Raise `alignment_weight` or train longer."
            )
        elif score["foscttm"] > ALIGNED:
            yield f"ok: {names} agree in part on the shared space ({measured})."
        else:
            yield f"ok: {names} agree on the shared space ({measured})."


def _best_r2(rows: pd.DataFrame) -> float:
    """The better of the linear and the neighbours' R²; no information is 0, and NaN that nothing could be measured."""
    return np.nan if rows["value"].isna().all() else float(np.nanmax([0.0, *rows["value"]]))


def _say_leakage(rows: pd.DataFrame) -> Iterator[str]:
    for (space, target), pair in rows.groupby(["space", "target"], sort=False):
        r2 = _best_r2(pair)
        if np.isnan(r2):
            what = "the joint shared latents" if target == "shared" else target
            yield (
                f"check: whether {space} knows {what} cannot be measured: one of them does not vary over the held-out cells, "
                "or too few cells have both."
            )
        elif target == "shared" and r2 >= LEAK_R2:
            yield (
                f"check: {space} predicts the joint shared latents with R² {_number(r2)}: shared information has leaked. "
                "Lower `n_private`, raise `private_kl_weight`, or raise `n_shared` so that there is room for it."
            )
        elif target == "shared":
            yield f"ok: {space} does not know the joint shared latents (R² {_number(r2, LEAK_R2)})."
        elif r2 >= LEAK_R2:
            yield (
                f"check: {space} predicts {target} with R² {_number(r2)}: part of what they share is filed as private. "
                "Raise `n_shared` or `private_kl_weight`, or lower `n_private`."
            )
        else:
            yield f"ok: {space} does not predict {target} (R² {_number(r2, LEAK_R2)})."


def _scores(rows: pd.DataFrame) -> tuple[str, pd.Series, float]:
    """Name of the score, its value by space, and from where on the target can be read."""
    if (rows["metric"] == "auc").any():
        return "AUC", rows[rows["metric"] == "auc"].set_index("space")["value"], READABLE_AUC
    return "R²", rows.groupby("space", sort=False)["value"].max().clip(lower=0.0), LEAK_R2


def _say_probes(rows: pd.DataFrame) -> Iterator[str]:
    for target, found in rows.groupby("target", sort=False):
        name, score, readable = _scores(found)
        if score.isna().all():
            yield (
                f"check: {target} cannot be read: it has fewer than two classes, or too few cells of each. Give a label with two "
                "classes at least, and several cells in each."
            )
            continue
        joint = score["shared"]
        alone = score[score.index.str.startswith("shared ")]
        private = score[score.index.str.startswith("private ")]
        leaky = private[private >= readable]
        where = ", ".join(f"{space} {_number(value)}" for space, value in leaky.items())
        read = f"{target} is read from the joint shared latents with {name} {_number(joint)}"
        if joint < readable and not len(leaky):
            yield f"check: {target} is read from no space ({name} {_number(joint)} from the shared): train longer, or it is not in the data."
        elif joint < readable:
            yield f"ok: {target} is private ({name}: {where}; {_number(joint)} from the joint shared latents)."
        elif len(leaky):
            yield (
                f"check: {read}, but from private spaces too ({where}): if it should be shared only, lower `n_private` or "
                "raise `private_kl_weight`."
            )
        else:
            yield f"ok: {read}, and from no private space ({_number(private.max(), readable) if len(private) else 'none'} at most)."
        if len(alone) and joint >= readable and alone.max() - joint > DILUTED_AUC:
            yield (
                f"check: {alone.idxmax()} alone reads {target} better than the joint latents do ({name} "
                f"{_number(alone.max())} against {_number(joint)}): a weaker modality dilutes it. Read "
                "`get_latent_representation(joint='precision')`."
            )


def _say_covariates(rows: pd.DataFrame) -> Iterator[str]:
    for target, found in rows.groupby("target", sort=False):
        name, score, _ = _scores(found)
        if score.isna().all():
            continue
        limit = COVARIATE_AUC if name == "AUC" else COVARIATE_R2
        follows = score[score >= limit]
        if not len(follows):
            yield f"ok: no space follows {target} ({name} {_number(score.max(), limit)} at most)."
            continue
        where = ", ".join(f"{space} {_number(value)}" for space, value in follows.items())
        remedy = (
            "compare cells within a batch only, or pass `encode_covariates=True`"
            if name == "AUC"
            else "check that counts (not normalised values) are modelled, give `size_factor_key`, or filter shallow cells"
        )
        yield f"check: {target} is read from {where} ({name}): {remedy}."


def _say_activity(rows: pd.DataFrame) -> Iterator[str]:
    for space, found in rows[rows["target"] == ""].groupby("space", sort=False):
        score = found.set_index("metric")["value"].astype(int)
        active, total = score["n_active"], score["n_dimensions"]
        argument = "n_shared" if space == "shared" else "n_private"
        if total == 0:
            continue
        if active == 0:
            yield f"check: none of the {total} dimensions of {space} is used: train longer, or lower the KL weight."
        elif active == total and space == "shared":
            yield f"check: all {total} dimensions of {space} are used: a larger `{argument}` may find more."
        else:
            yield f"ok: {active} of {total} dimensions of {space} are used."


def _say_stability(rows: pd.DataFrame) -> Iterator[str]:
    for space, found in rows.groupby("space", sort=False):
        r2 = float(found.groupby("target")["value"].max().min(skipna=False))
        if np.isnan(r2):
            yield f"check: {space} cannot be compared between runs: in one of them it does not vary over the held-out cells."
        elif r2 < STABLE_R2:
            yield (
                f"check: {space} differs between runs (R² {_number(r2)} at the lowest): train longer, or read only what "
                "all runs agree on."
            )
        else:
            yield f"ok: {space} is the same in all runs (R² {_number(r2)} at the lowest)."


_SPEAKERS = {
    "alignment": _say_alignment,
    "leakage": _say_leakage,
    "probe": _say_probes,
    "covariate": _say_covariates,
    "activity": _say_activity,
    "stability": _say_stability,
}
