from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy.sparse import csr_matrix, issparse
from scipy.stats import ttest_ind

from vennvi.benchmark import EXPERIMENTS, MODELS, Latents, cells_of, get_experiment, get_model
from vennvi.benchmark._data import read_published
from vennvi.benchmark.experiments import cll
from vennvi.benchmark.experiments._select import informative_and_not, welch_order

every_experiment = pytest.mark.parametrize("experiment", [pytest.param(e, id=e.name) for e in EXPERIMENTS.values()])


@every_experiment
def test_records_are_consistent(experiment):
    assert EXPERIMENTS[experiment.name] is experiment
    models = [get_model(name) for name in experiment.models]
    assert [model.name for model in models] == list(experiment.models)
    assert "PCA+CCA" in experiment.models  # no one may be misled
    assert "PCA+CCA" in experiment.quick.models
    names = [condition.name for condition in experiment.conditions]
    assert len(set(names)) == len(names)
    assert sum(headline.in_figure for headline in experiment.headlines) in (2, 3, 4, 8)
    cells = list(cells_of(experiment, models))
    assert len({cell.slug for cell in cells}) == len(cells)

    quick = experiment.quickened()
    assert quick.name == f"{experiment.name}-quick"
    assert {condition.name for condition in quick.conditions} <= set(names)
    assert len(list(cells_of(quick, [get_model(name) for name in quick.models]))) < len(cells)


@every_experiment
def test_a_title_says_all_by_itself(experiment):
    for headline in experiment.headlines:
        assert headline.title[0].isalpha()  # what a panel or a table shows, not "… from another space"
        assert ("lower is better" in headline.title) == headline.metric.startswith("foscttm")


@every_experiment
def test_models_of_one_figure_can_be_told_apart(experiment):
    colors = np.array([to_rgb(MODELS[name].color) for name in experiment.models])
    distance = np.linalg.norm(colors[:, None] - colors, axis=-1)
    assert distance[np.triu_indices_from(distance, 1)].min() > 0.25
    assert np.linalg.norm(np.subtract(to_rgb(MODELS["VennVI"].color), to_rgb(MODELS["PCA+CCA"].color))) > 0.5


def test_the_issue_s_sweep_of_gp():
    gp = get_experiment("gp")
    assert [c.name for c in gp.conditions] == ["20/100", "50/100", "100/100", "250/100", "1000/100", "1000/1000"]
    assert gp.conditions[3].params["n_private_features"] == {"view1": 250, "view2": 100}
    assert [gp.latents_label(latents) for latents in gp.latents] == ["2+2+2", "5+5+5", "10+10+10"]
    assert (gp.settings.max_epochs, gp.settings.lr, gp.settings.batch_size) == (100, 1e-3, 128)
    assert get_experiment("gp-3views").latents_label(Latents(2, 5)) == "2+5+5+5"


def test_restrict_refuses_what_there_is_not():
    gp = get_experiment("gp")
    with pytest.raises(ValueError, match="no condition '30/100'; it has 20/100"):
        gp.restrict(conditions=["30/100"])
    with pytest.raises(ValueError, match=r"has latents 2\+2\+2, .* not 3\+3\+3"):
        gp.restrict(latents=["3+3+3"])
    with pytest.raises(ValueError, match=r"no experiment 'nope'; the experiments are gp,"):
        get_experiment("nope")
    with pytest.raises(ValueError, match="no model 'nope'; the models are VennVI, MMVAEPlusPlus,"):
        get_model("nope")
    assert get_model("mmvaeplusplus") is MODELS["MMVAEPlusPlus"]


def test_gp_is_split_by_label_and_knows_its_factors():
    gp = get_experiment("gp")
    data = gp.build(seed=3, **gp.condition("20/100").params)
    assert (len(data.train), len(data.test)) == (800, 200)
    positive = data.label("y") == "positive"
    assert positive[data.train].mean() == pytest.approx(positive[data.test].mean(), abs=0.01)
    np.testing.assert_array_equal(positive, data.shared_factor[:, 0] > 0)
    assert [data.mdata[view].n_vars for view in data.modalities] == [30, 110]
    again = gp.build(seed=3, **gp.condition("20/100").params)
    np.testing.assert_array_equal(again.mdata["view1"].X, data.mdata["view1"].X)


def test_gp_even_asks_for_what_the_views_share():
    even = get_experiment("gp-even")
    data = even.build(seed=0, **even.condition("20/100").params)
    assert data.shared_factor.min() >= 0
    np.testing.assert_array_equal(data.label("y") == "positive", data.shared_factor[:, 0] > 1)


def test_shuffled_pairs_are_the_same_samples_in_another_order():
    experiment = get_experiment("gp-shuffled")
    pairs, shuffled = (experiment.build(seed=2, **experiment.condition(name).params) for name in ("paired", "shuffled"))
    np.testing.assert_array_equal(pairs.mdata["view1"].X, shuffled.mdata["view1"].X)
    own, other = (data.mdata["view2"].X for data in (pairs, shuffled))
    assert (own != other).any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(own[np.lexsort(own.T)], other[np.lexsort(other.T)])
    assert sorted([*shuffled.train, *shuffled.test]) == list(range(500))
    assert shuffled.shared_factor is None  # what the views share is nothing


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
def test_order_agrees_with_scipy(as_sparse):
    rng = np.random.default_rng(0)
    positive = rng.random(50) < 0.4
    values = rng.normal(size=(50, 20)) + positive[:, None] * np.linspace(-1, 1, 20)
    values[:, 7] = 2.0  # constant: last
    order = welch_order(csr_matrix(values) if as_sparse else values, positive)
    varying = np.delete(np.arange(20), 7)
    t = np.abs(ttest_ind(values[positive][:, varying], values[~positive][:, varying], equal_var=False).statistic)
    np.testing.assert_array_equal(order, [*varying[np.argsort(-t)], 7])


def test_informative_features_do_not_overlap_the_others():
    order = np.arange(10)[::-1]
    assert informative_and_not(order, 2, 3).tolist() == [9, 8, 2, 1, 0]
    assert informative_and_not(order, 2, 0).tolist() == [9, 8]
    with pytest.raises(ValueError, match="asked of 10"):
        informative_and_not(order, 8, 3)


@pytest.fixture
def published(real_data, monkeypatch):
    """Use the published data, or skip."""

    def use(name):
        monkeypatch.setenv("VENNVI_DATA", str(real_data(name).parent))

    return use


@pytest.mark.parametrize(
    ("name", "file", "condition", "widths", "n", "likelihoods"),
    [
        pytest.param("cll", "cll", "200", [210, 110], 126, ["normal", "normal"], id="cll"),
        pytest.param("brca", "tcga_brca", "500", [510, 110], 726, ["normal", "normal"], id="brca"),
        pytest.param("brca-3views", "tcga_brca", "500", [510, 110, 110], 726, ["normal"] * 3, id="brca-3views"),
        pytest.param("multiome", "snareseq_cortex", "100", [110, 2000], 4787, ["nb", "bernoulli"], id="multiome"),
        pytest.param("citeseq", "pbmc10k_citeseq", "100", [110, 12], 4024, ["nb", "nb"], id="citeseq"),
    ],
)
def test_published_data_are_as_described(published, name, file, condition, widths, n, likelihoods):
    published(file)
    experiment = get_experiment(name)
    data = experiment.build(seed=0, **experiment.condition(condition).params)
    assert data.modalities == experiment.modalities
    assert [data.mdata[m].n_vars for m in data.modalities] == widths
    assert len(data.train) + len(data.test) == data.mdata.n_obs == n
    assert len(data.test) == pytest.approx(n / 4, abs=1)
    assert [data.likelihoods[m] for m in data.modalities] == likelihoods
    assert len(np.unique(data.label(data.labels[0]))) == 2
    for m, likelihood in data.likelihoods.items():
        values = data.mdata[m].X
        values = values.data if issparse(values) else values
        assert np.isfinite(values).all()
        if likelihood == "bernoulli":
            assert set(np.unique(values)) <= {0.0, 1.0}
        if likelihood == "nb":
            assert (values == np.round(values)).all()


@pytest.mark.parametrize(
    ("name", "file", "widths", "unassigned", "n_types"),
    [
        pytest.param("multiome-types", "snareseq_cortex", (1677, None), "Mis", 19, id="multiome"),
        pytest.param("citeseq-types", "pbmc10k_citeseq", (2000, 14), "unknown", 7, id="citeseq"),
    ],
)
def test_all_types_are_as_described(name, file, widths, unassigned, n_types, published):
    published(file)
    experiment = get_experiment(name)
    data = experiment.build(seed=0, **experiment.condition("4000").params)
    assert data.modalities == experiment.modalities
    assert (data.mdata.n_obs, len(data.train), len(data.test)) == (4000, 3000, 1000)
    original = read_published(f"{file}.h5mu")
    for m, width in zip(data.modalities, widths, strict=True):
        assert width is None or data.mdata[m].n_vars == width
        depth = np.asarray(original[m][data.mdata.obs_names.to_numpy()].X.sum(axis=1)).ravel()
        np.testing.assert_allclose(data.nuisances[f"log depth of {m}"], np.log(depth), rtol=1e-5)
    labels = data.label("cell_type")
    known = np.array([label is not None for label in labels])
    types = original.obs["cell_type"][data.mdata.obs_names].astype(str).to_numpy()
    counts = pd.Series(types).value_counts()
    rare = counts.index[counts < 15]
    np.testing.assert_array_equal(known, ~np.isin(types, [unassigned, *rare]))
    np.testing.assert_array_equal(labels[known], types[known])
    assert len(set(labels[known])) == n_types
    assert 0.7 < known[data.train].mean() < 1  # cells without a type are trained on
    assert set(labels[data.test]) == set(labels)
    if name == "multiome-types":
        peaks = data.mdata["atac"].X
        assert set(np.unique(peaks.data)) == {1.0}
        assert np.asarray(peaks.sum(axis=0)).min() >= 20
    other = experiment.build(seed=1, **experiment.condition("4000").params)
    assert set(other.mdata.obs_names) != set(data.mdata.obs_names)


@pytest.mark.parametrize(("order_on", "same"), [("train", True), ("all", False)])
def test_cll_orders_features_on_training_patients_only(order_on, same, published, monkeypatch):
    published("cll")
    before = cll.build(seed=0, n_genes=50, order_on=order_on).mdata
    held_out = before.obs_names[cll.build(seed=0, n_genes=50).test]

    def scrambled(file):
        mdata = read_published(file)
        for view in ("mrna", "methylation"):
            rows = mdata[view].obs_names.get_indexer(held_out)
            mdata[view].X[rows] = np.random.default_rng(0).normal(scale=30, size=(len(rows), mdata[view].n_vars))
        return mdata

    monkeypatch.setattr(cll, "read_published", scrambled)
    after = cll.build(seed=0, n_genes=50, order_on=order_on).mdata
    for view in before.mod:
        assert (list(before[view].var_names) == list(after[view].var_names)) == same


def test_a_part_lists_results_in_the_order_of_the_whole():
    part = EXPERIMENTS["gp"].restrict(conditions=["1000/1000"], models=["PCA+CCA"]).restrict(n_seeds=1)
    assert part.full is EXPERIMENTS["gp"]
    assert EXPERIMENTS["gp"].full is EXPERIMENTS["gp"]
