"""The leakage report on spaces of known content."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vennvi.metrics import alignment, diagnose, interval_coverage, linear_probe, predictability
from vennvi.metrics._diagnosis import ACTIVE_KL

N = 600
TRAIN, TEST = np.arange(400), np.arange(400, N)


@pytest.fixture
def latents():
    """Shared, unimodal shared and private latents as they should be."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(N, 3))
    return {
        "joint": shared,
        "unimodal": {m: shared + 0.1 * rng.normal(size=(N, 3)) for m in ("rna", "atac")},
        "private": {m: rng.normal(size=(N, 2)) for m in ("rna", "atac")},
    }


def _diagnose(latents, **kwargs):
    return diagnose(latents["unimodal"], latents["joint"], latents["private"], TRAIN, TEST, **kwargs)


def _value(diagnosis, topic, space, target, metric):
    t = diagnosis.table
    chosen = t[(t["topic"] == topic) & (t["space"] == space) & (t["target"] == target) & (t["metric"] == metric)]
    return chosen["value"].item()


def _said(diagnosis, *words):
    return [v for v in diagnosis.verdicts if all(word in v for word in words)]


def test_clean_spaces_ask_for_nothing(latents):
    components = {"rna": np.c_[latents["joint"], latents["private"]["rna"]], "atac": latents["private"]["atac"]}
    diagnosis = _diagnose(latents, components=components)
    assert diagnosis.n_checks == 0
    assert str(diagnosis).count("ok: ") == len(diagnosis.verdicts) == 5


def test_numbers_are_those_of_the_metrics(latents):
    label = np.where(latents["joint"][:, 0] > 0, "a", "b")
    diagnosis = _diagnose(latents, labels={"label": label})
    aligned = alignment(latents["unimodal"]["rna"][TEST], latents["unimodal"]["atac"][TEST])
    assert _value(diagnosis, "alignment", "shared rna", "shared atac", "foscttm") == aligned.foscttm
    expected = predictability(latents["private"]["rna"], latents["joint"], TRAIN, TEST, average="variance")
    assert _value(diagnosis, "leakage", "private rna", "shared", "r2_ridge") == expected.ridge
    probe = linear_probe(latents["joint"], label, TRAIN, TEST)
    assert _value(diagnosis, "probe", "shared", "label", "auc") == probe.auc


def test_leaks_are_named(latents):
    latents["private"]["rna"][:, 0] = latents["joint"][:, 0]
    components = {"rna": latents["private"]["rna"], "atac": latents["joint"]}
    diagnosis = _diagnose(latents, components=components)
    assert _said(diagnosis, "check: private rna predicts the joint shared latents", "n_private")
    assert _said(diagnosis, "check: private rna predicts atac", "n_shared")
    assert _said(diagnosis, "ok: private atac does not know the joint")


def test_a_leak_is_seen_although_training_rows_are_memorised(latents):
    """On training rows the latents follow something else, as those of an encoder that has memorised the pairs."""
    latents["private"]["rna"] = latents["joint"][:, :2].copy()
    latents["joint"][TRAIN] = np.random.default_rng(1).normal(size=(len(TRAIN), 3))
    diagnosis = _diagnose(latents)
    assert _value(diagnosis, "leakage", "private rna", "shared", "r2_ridge") < 0.1
    assert _value(diagnosis, "leakage", "private rna", "shared", "r2_ridge_held_out") > 0.55
    assert _said(diagnosis, "check: private rna predicts the joint shared latents")


@pytest.mark.parametrize("spread", [1e-3, 1e-9, 0.0], ids=["hardly in use", "rounding", "constant"])
def test_a_leak_of_the_one_shared_dimension_in_use_is_seen(latents, spread):
    dead = 0.3 + spread * np.random.default_rng(7).normal(size=(N, 9))
    latents["private"]["rna"][:, 0] = latents["joint"][:, 0]
    latents["joint"] = np.c_[latents["joint"][:, :1], dead]
    diagnosis = _diagnose(latents)
    assert _value(diagnosis, "leakage", "private rna", "shared", "r2_ridge") > 0.95
    assert _said(diagnosis, "check: private rna predicts the joint shared latents")


def test_what_could_not_be_measured_is_not_ok(latents):
    latents["joint"][:] = 0.3
    diagnosis = _diagnose(latents, others=[{"shared": latents["joint"], "private protein": latents["private"]["rna"]}])
    assert _said(diagnosis, "check: whether private rna knows the joint shared latents cannot be measured")
    assert _said(diagnosis, "check: shared cannot be compared between runs")
    assert not any(said.startswith("ok: private") for said in diagnosis.verdicts)


def test_unaligned_spaces(latents):
    latents["unimodal"]["atac"] = np.random.default_rng(2).normal(size=(N, 3))
    assert _said(_diagnose(latents), "check: rna and atac agree no more than shuffled pairs")


def test_weakly_aligned_spaces(latents):
    latents["unimodal"]["atac"] = latents["joint"] + 5 * np.random.default_rng(2).normal(size=(N, 3))
    assert _said(_diagnose(latents), "check: rna and atac agree a little", "alignment_weight")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        pytest.param(lambda z: z["joint"][:, 0] > 0, "ok: label is read from the joint shared latents", id="shared"),
        pytest.param(
            lambda z: z["private"]["rna"][:, 0] > 0, "ok: label is private (AUC: private rna 1.00", id="private"
        ),
        pytest.param(
            lambda z: z["joint"][:, 0] * 3.0, "ok: label is read from the joint shared latents with R²", id="number"
        ),
        pytest.param(lambda z: np.arange(N) % 2 == 0, "check: label is read from no space", id="nowhere"),
        pytest.param(
            lambda z: np.full(N, "all"), "check: label cannot be read: it has fewer than two classes", id="constant"
        ),
    ],
)
def test_where_a_label_is(latents, label, said):
    assert _said(_diagnose(latents, labels={"label": label(latents)}), said)


def test_a_label_in_both_spaces(latents):
    label = latents["joint"][:, 0] > 0
    latents["private"]["rna"][:, 0] += 3 * label
    assert _said(_diagnose(latents, labels={"type": label}), "check: type is read", "private rna")


def test_a_diluted_joint_space(latents):
    label = latents["joint"][:, 0] > 0
    latents["joint"] = latents["joint"] + 1.5 * np.random.default_rng(3).normal(size=(N, 3))
    assert _said(_diagnose(latents, labels={"type": label}), "check: shared", "alone reads type better", "precision")


def test_covariates(latents):
    batch = np.random.default_rng(4).integers(2, size=N).astype(str).astype(object)
    depth = latents["private"]["rna"][:, 0]
    diagnosis = _diagnose(latents, covariates={"batch": batch, "log depth of rna": depth})
    assert _said(diagnosis, "ok: no space follows batch")
    assert _said(diagnosis, "check: log depth of rna is read from private rna", "size_factor_key")


def test_used_and_unused_dimensions(latents):
    kl = {"shared": [1.0, 0.5, 0.0], "private rna": [0.0, 0.9 * ACTIVE_KL], "private atac": [1.0, 1.0]}
    diagnosis = _diagnose(latents, kl=kl)
    assert _value(diagnosis, "activity", "shared", "", "n_active") == 2
    assert _said(diagnosis, "ok: 2 of 3 dimensions of shared are used")
    assert _said(diagnosis, "check: none of the 2 dimensions of private rna is used")
    assert _said(diagnosis, "ok: 2 of 2 dimensions of private atac are used")
    assert _said(_diagnose(latents, kl={"shared": [1.0, 1.0]}), "check: all 2 dimensions of shared", "n_shared")


def test_stability_is_up_to_rotation(latents):
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    same = {"shared": latents["joint"] @ rotation, "private rna": np.random.default_rng(6).normal(size=(N, 2))}
    diagnosis = _diagnose(latents, others=[same, same])
    assert _value(diagnosis, "stability", "shared", "run 2", "r2_ridge") == pytest.approx(1.0, abs=1e-3)
    assert _said(diagnosis, "ok: shared is the same in all runs")
    assert _said(diagnosis, "check: private rna differs between runs")


def test_absent_rows_are_left_out(latents):
    latents["unimodal"]["atac"][::3] = np.nan
    latents["private"]["atac"][::3] = np.nan
    table = _diagnose(latents).table
    n = int((np.arange(N)[TEST] % 3 != 0).sum())
    assert set(table.loc[table["topic"] == "alignment", "n_test"]) == {n}
    assert set(table.loc[table["space"] == "private atac", "n_test"]) == {n}


def test_few_pairs(latents):
    latents["unimodal"]["atac"][405:] = np.nan
    assert _said(_diagnose(latents), "check: rna and atac have fewer than 10 held-out cells")


@pytest.mark.parametrize("n_test", [10, 20, 100])
def test_leaks_are_seen_in_few_held_out_rows(n_test):
    """One R² of all rows: the mean over fifths of two rows each would be far below zero."""
    found = []
    for seed in range(9):
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=(N, 1))
        private = {"rna": shared + 0.5 * rng.normal(size=(N, 1))}
        unimodal = dict.fromkeys(("rna", "atac"), shared)
        table = diagnose(unimodal, shared, private, TRAIN, TEST[:n_test]).table
        found.append(table.loc[table["metric"] == "r2_ridge_held_out", "value"].item())
    assert 0.5 < np.median(found) < 0.9  # 0.8 of infinitely many


def test_data_of_a_large_offset_are_no_constants():
    x = 1e7 + np.random.default_rng(0).normal(size=(500, 1))
    assert interval_coverage(x, np.full_like(x, 1e7 - 1), np.full_like(x, 1e7 + 1)).total == pytest.approx(
        0.68, abs=0.06
    )
    assert alignment(x, x).foscttm == 0
    rounded = np.full((500, 1), 0.3, dtype=np.float32)
    rounded[::2] = np.nextafter(rounded[::2], np.float32(1))
    for latents in (rounded, rounded.astype(float), rounded.tolist(), pd.DataFrame({"a": rounded.ravel(), "b": 1.0})):
        assert np.isnan(predictability(x, latents, TRAIN[:300], TRAIN[300:]).ridge)
