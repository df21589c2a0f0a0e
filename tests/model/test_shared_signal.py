"""The test of a shared signal on trained models."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from mudata import MuData
from toy import N_OBS, toy_mudata

import vennvi
from vennvi import MMVAEPlusPlus, MoPoEVAE


def _shuffled(mdata: MuData, seed: int) -> MuData:
    """The same modalities, the pairing of their cells lost."""
    mods = {m: mdata[m].copy() for m in mdata.mod}
    last = list(mods)[-1]
    order = np.random.default_rng(seed).permutation(mdata.n_obs)
    mods[last] = mods[last][order].copy()
    mods[last].obs_names = mdata.obs_names
    return MuData(mods)


def _trained(mdata, cls=MMVAEPlusPlus, max_epochs=40, train_size=0.5):
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=4, n_private=2, n_hidden=32)
    model.train(
        max_epochs=max_epochs, train_size=train_size, batch_size=32, accelerator="cpu", plan_kwargs={"lr": 5e-3}
    )
    return model


def _data(seed: int) -> MuData:
    return vennvi.data.simulate_gp(n_obs=300, n_private_features={"view1": 10, "view2": 10}, seed=seed)


def test_real_pairs_have_a_signal():
    test = _trained(_data(0)).shared_signal_test(n_permutations=199)
    assert test.p_value == pytest.approx(1 / 200)
    assert test.dimensions["q_value"].min() <= 0.05
    assert test.statistic > 10 * test.null.mean()


@pytest.mark.slow
def test_shuffled_pairs_have_none():
    p_values = [
        _trained(_shuffled(_data(seed), seed), max_epochs=15).shared_signal_test(n_permutations=199, seed=seed).p_value
        for seed in range(10)
    ]
    assert np.mean(np.array(p_values) > 0.05) >= 0.8


def test_held_out_cells_are_the_default_and_may_be_chosen():
    model = _trained(_data(1), max_epochs=2, train_size=0.6)
    held_out = np.sort(model.validation_indices)
    default = model.shared_signal_test(n_permutations=19)
    assert default.pairs["n_obs"].tolist() == [120]
    chosen = model.shared_signal_test(n_permutations=19, indices=held_out)
    np.testing.assert_array_equal(default.null, chosen.null)
    same_data = model.shared_signal_test(n_permutations=19, mdata=model.adata)
    np.testing.assert_array_equal(default.null, same_data.null)


def test_test_cells_are_held_out_too():
    mdata = _data(2)
    MMVAEPlusPlus.setup_mudata(mdata)
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8)
    train, test = np.arange(200), np.arange(200, 300)
    split = {"external_indexing": [train, np.empty(0, dtype=int), test]}
    model.train(max_epochs=1, accelerator="cpu", datasplitter_kwargs=split)
    assert model.shared_signal_test(n_permutations=9).pairs["n_obs"].tolist() == [100]


def test_trained_on_all_cells():
    model = _trained(_data(3), max_epochs=1, train_size=1.0)
    with pytest.raises(ValueError, match=r"trained on all cells.*train_size=0.8"):
        model.shared_signal_test()
    new = _data(4)
    assert model.shared_signal_test(n_permutations=9, mdata=new).pairs["n_obs"].tolist() == [300]


@pytest.mark.parametrize("cls", [MMVAEPlusPlus, MoPoEVAE])
def test_three_modalities_absent_cells_and_groups(cls):
    mdata = toy_mudata(absent=True, permuted=True)
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=3, n_private=1, n_hidden=8)
    model.train(max_epochs=1, train_size=0.5, accelerator="cpu")
    test = model.shared_signal_test(n_permutations=19, within="batch", indices=np.arange(mdata.n_obs))
    assert set(zip(test.pairs["modality_a"], test.pairs["modality_b"], strict=True)) == {
        ("rna", "atac"),
        ("rna", "protein"),
        ("atac", "protein"),
    }
    assert (test.pairs["n_obs"] < mdata.n_obs).all()
    with pytest.raises(KeyError, match="within"):
        model.shared_signal_test(within="nowhere")


@pytest.mark.parametrize("nobody", [[], np.zeros(N_OBS, dtype=bool)], ids=["empty", "mask"])
def test_no_cell_is_refused(nobody):
    model = vennvi.MVAE
    model.setup_mudata(mdata := toy_mudata(2))
    model = model(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(max_epochs=1, train_size=0.5, accelerator="cpu", enable_progress_bar=False)
    for read in (
        model.shared_signal_test,
        partial(model.shared_features, "rna"),
        partial(model.predictive_coverage, "rna"),
    ):
        with pytest.raises(ValueError, match="`indices` chooses no cell"):
            read(indices=nobody)
