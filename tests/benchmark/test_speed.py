from __future__ import annotations

import dataclasses
import re
import threading
from concurrent.futures import Future
from multiprocessing import Pipe

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import vennvi
from vennvi.benchmark import CannotRun, OtherResultsError
from vennvi.benchmark._preflight import CannotStartError
from vennvi.benchmark.cli import app
from vennvi.benchmark.speed import (
    CONTESTANTS,
    WORKLOADS,
    Architecture,
    Contestant,
    Course,
    Entry,
    Job,
    Modality,
    Rates,
    Workload,
    _machine,
    bound,
    get_contestant,
    get_workload,
    judge_speed,
    needed_flops,
    run_race,
    run_speed,
)
from vennvi.benchmark.speed import _quality as quality
from vennvi.benchmark.speed._bare import BareMMVAEPlusPlus, train_bare
from vennvi.benchmark.speed._data import random_csr, read_data, write_data
from vennvi.benchmark.speed._growth import AXES, axes_named
from vennvi.benchmark.speed._hooks import PRODUCT_MARK, CountFlops, Hooks, ProfileSteps, train_until_enough
from vennvi.benchmark.speed._machine import Gauge, peak_rss
from vennvi.benchmark.speed._profile import CATEGORIES, category_of, seconds_by_category
from vennvi.benchmark.speed._race import COLUMNS, MACHINE
from vennvi.benchmark.speed._report import write_report
from vennvi.benchmark.speed._results import COLUMNS as COLUMNS_ON_DISK
from vennvi.benchmark.speed._results import is_complete, race_path
from vennvi.benchmark.speed._run import n_threads
from vennvi.benchmark.speed._summary import growth_ratio, profile_of, round_ratios, summarise_speed
from vennvi.benchmark.speed._table import _quality
from vennvi.benchmark.speed._worker import work
from vennvi.fused import Multiply, NumpyMultiply

N_OBS = 40
COUNTS = {"rna": Modality("counts", 12, 0.4), "atac": Modality("binary", 20, 0.3)}
PROTEINS = {"rna": Modality("counts", 12, 0.4), "protein": Modality("protein", 5)}
REAL = {"view1": Modality("real", 9), "view2": Modality("real", 6)}
TOY = Workload(
    "toy", "toy", N_OBS, COUNTS, ("MMVAEPlusPlus", "VennVI"), "VennVI", n_shared=3, n_private=2, batch_size=16
)


def real(n_modalities=2, **changes) -> Workload:
    views = {f"view{i}": Modality("real", 4 + 3 * i) for i in range(n_modalities)}
    return dataclasses.replace(TOY, name="real", modalities=views, **changes)


def in_thread(task):
    """Run a contestant beside the test: fakes are known here, and nothing is imported twice."""
    ours, theirs = Pipe()

    def talk():
        work(theirs, task)
        theirs.close()

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    return ours, thread


def fake(job: Job, name: str, log: list, breaks: str = "") -> None:
    """Trains nothing, and says when."""
    if breaks == "at once":
        raise CannotRun("it is not made for | such data")
    for epoch in range(job.n_epochs):
        if job.hooks is not None:
            job.hooks.epoch_starts()
        log.append(name)
        if breaks == "in epoch 1" and epoch == 1:
            raise RuntimeError("no more\nof this")


class NoGauge:
    """Measures nothing."""

    def __init__(self, device):
        self.device = device

    def read(self):
        return Rates(**RATES)


@pytest.fixture(autouse=True)
def _quick_turns(monkeypatch):
    monkeypatch.setattr("vennvi.benchmark.speed._worker.Gauge", NoGauge)


def race_of(tmp_path, contestants, *, repeats=3, workload=TOY, n_profiled=0):
    write_data(workload, tmp_path / workload.name)
    course = Course(tmp_path, 1, repeats, n_profiled=n_profiled, pause=0)
    return run_race([Entry(contestant, workload) for contestant in contestants], course, launch=in_thread)


# --------------------------------------------------------------------------------------------------------- data
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "counts"])
@pytest.mark.parametrize("density", [0.03, 0.4])
def test_random_matrices_have_their_density(density, binary):
    groups = np.random.default_rng(1).integers(4, size=500)
    x = random_csr(groups, 300, density, np.random.default_rng(0), binary=binary)
    shares = np.stack([(x[groups == g] > 0).mean(axis=0).A1 for g in range(4)])
    high = shares > density
    assert shares[high].mean() == pytest.approx(1.6 * density, rel=0.1)
    assert shares[~high].mean() == pytest.approx(0.4 * density, rel=0.25)
    assert x.shape == (500, 300)
    assert x.dtype == np.float32
    assert x.nnz / (500 * 300) == pytest.approx(density, rel=0.05)
    again = sparse.csr_matrix((x.data, x.indices, x.indptr), shape=x.shape)
    again.sum_duplicates()  # checks what the matrix claims of itself
    assert again.nnz == x.nnz
    assert x.data.min() == 1
    assert (x.data.max() == 1) == binary


def test_data_are_drawn_once_and_read_as_written(tmp_path):
    for workload in (TOY, dataclasses.replace(TOY, modalities=PROTEINS), real()):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        stored = write_data(workload, folder)
        times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert write_data(workload, folder) == stored
        assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
        mdata = read_data(workload, folder)
        for name, modality in workload.modalities.items():
            x = mdata[name].X
            assert x.shape == (N_OBS, modality.n_features)
            assert sparse.issparse(x) == modality.is_sparse
            assert (x.nnz if modality.is_sparse else x.size) == stored[name]


def test_a_shrunk_workload_says_of_what():
    small = WORKLOADS["peaks-20k"].shrunk(100)
    assert (small.n_obs, small.n_whole) == (100, 10_000)
    assert WORKLOADS["gaussian"].shrunk(10_000) is WORKLOADS["gaussian"]


# --------------------------------------------------------------------------------------------------------- race
def test_contestants_alternate(tmp_path):
    log: list[str] = []
    rows = race_of(tmp_path, [Contestant(name, name, fake, {"name": name, "log": log}) for name in "abc"])
    assert set(log[:3]) == set("abc")  # warm up
    assert all(set(log[i : i + 3]) == set("abc") for i in range(0, 12, 3))
    assert len(log) == 4 * 3
    assert len({tuple(log[i : i + 3]) for i in range(0, 12, 3)}) > 1  # the order changes
    assert list(rows.columns) == list(COLUMNS)
    seconds = rows[rows["quantity"] == "seconds"]
    assert seconds.groupby("model")["round"].apply(list).to_dict() == {name: [1, 2, 3] for name in "abc"}
    assert (seconds["value"] >= 0).all()
    machine = rows[rows["model"] == MACHINE]
    assert set(machine["quantity"]) == {"MB before training", "flops", "bytes", "logistic"}
    assert machine.loc[machine["round"] == 2].set_index("quantity")["value"].to_dict() == RATES


def test_whole_trainings_are_turns_too(tmp_path):
    log: list[str] = []
    workload = dataclasses.replace(TOY, unit="training", n_epochs=4)
    contestants = [Contestant(name, name, fake, {"name": name, "log": log}) for name in "ab"]
    race_of(tmp_path, contestants, repeats=2, workload=workload)
    turns = [log[i : i + 4] for i in range(0, len(log), 4)]
    assert all(len(set(turn)) == 1 for turn in turns)
    assert [{turn[0] for turn in turns[i : i + 2]} for i in range(0, 6, 2)] == [{"a", "b"}] * 3


def test_a_broken_contestant_has_its_reason_and_the_others_go_on(tmp_path):
    log: list[str] = []
    contestants = [
        Contestant(name, name, fake, {"name": name, "log": log, "breaks": breaks})
        for name, breaks in {"good": "", "unfit": "at once", "frail": "in epoch 1"}.items()
    ]
    rows = race_of(tmp_path, contestants)
    broken = rows[rows["status"] != "ok"].set_index("model")
    assert broken["status"].to_dict() == {"unfit": "cannot", "frail": "failed"}
    assert broken.loc["unfit", "reason"] == "it is not made for | such data"
    assert broken.loc["frail", "reason"] == "RuntimeError: no more of this"
    assert (rows[rows["model"] == "good"]["quantity"] == "seconds").sum() == 3


def test_a_process_that_dies_is_missed(tmp_path):
    def dies(task):
        ours, theirs = Pipe()
        theirs.close()
        return ours, threading.Thread(target=int)

    class Started(threading.Thread):
        def __init__(self):
            super().__init__(target=int)
            self.start()

    write_data(TOY, tmp_path / "toy")
    entries = [Entry(Contestant("a", "a", fake, {"name": "a", "log": []}), TOY)]
    rows = run_race(entries, Course(tmp_path, 1, 1, pause=0), launch=lambda task: (dies(task)[0], Started()))
    assert rows["reason"].str.contains("ended without a word").all()


def test_the_machine_is_gauged():
    rates = Gauge().read(seconds=0.001)
    assert min(rates.flops, rates.bytes, rates.logistic) > 1e6
    assert peak_rss() > 50


# ------------------------------------------------------------------------------------------------------- ratios
def frame(seconds: dict[str, list[float]], **once: dict[str, float]) -> pd.DataFrame:
    rows = [
        ("toy", "1", "toy", N_OBS, model, "ok", "seconds", i, value, "")
        for model, values in seconds.items()
        for i, value in enumerate(values, start=1)
    ]
    rows += [
        ("toy", "1", "toy", N_OBS, model, "ok", quantity.replace("_", " "), 0, value, "")
        for quantity, by_model in once.items()
        for model, value in by_model.items()
    ]
    rows += [("toy", "1", "", 0, MACHINE, "ok", name, 1, v, "") for name, v in RATES.items()]
    names = ["race", "threads", "workload", "n_obs", "model", "status", "quantity", "round", "value", "reason"]
    return pd.DataFrame(rows, columns=names).assign(date="2026-01-01", machine="a machine", versions="vennvi 0")


RATES = {"flops": 1e9, "bytes": 1e9, "logistic": 1e8}
UNEVEN = {"MMVAEPlusPlus": [1.0, 9.0, 2.0], "VennVI": [2.0, 10.0, 8.0]}


def test_ratios_are_taken_round_by_round():
    race = frame(UNEVEN)
    np.testing.assert_allclose(round_ratios(race, "MMVAEPlusPlus", "VennVI", "toy"), [0.5, 0.9, 0.25])
    summary = summarise_speed(race, {"toy": TOY}).set_index("model")
    assert summary.loc["MMVAEPlusPlus", "seconds"] == 2.0
    assert summary.loc["MMVAEPlusPlus", "seconds ratio"] == 0.5  # not 2 / 8
    assert summary.loc["VennVI", "seconds ratio"] == 1.0


def test_a_round_that_one_of_two_missed_counts_for_neither():
    race = frame({"MMVAEPlusPlus": [1.0, 9.0, 2.0], "VennVI": [2.0]})
    np.testing.assert_allclose(round_ratios(race, "MMVAEPlusPlus", "VennVI", "toy"), [0.5])


def test_memory_is_read_whole_and_beyond_imports():
    peaks = {"MMVAEPlusPlus": 900.0, "VennVI": 1000.0}
    race = frame(UNEVEN, peak_MB=peaks, MB_before_training=dict.fromkeys(peaks, 800.0))
    own = summarise_speed(race, {"toy": TOY}).set_index("model").loc["MMVAEPlusPlus"]
    assert own["memory ratio"] == pytest.approx(0.9)
    assert own["training memory ratio"] == pytest.approx(0.5)


def test_on_a_gpu_its_memory_is_told_and_no_target_is_judged(tmp_path):
    on_gpu = {"MMVAEPlusPlus": 300.0, "VennVI": 400.0}
    race = frame(
        UNEVEN,
        peak_MB=dict.fromkeys(on_gpu, 900.0),
        MB_before_training=dict.fromkeys(on_gpu, 800.0),
        GPU_peak_MB=on_gpu,
    )
    verdicts = write_report(tmp_path, race, pd.DataFrame(), {"toy": TOY}, quick=False)
    assert verdicts.empty
    table = (tmp_path / "table.md").read_text()
    assert "## Targets" not in table
    assert re.search(r"\| MMVAE\+\+ \| 1 \| 2.00 .* \| 300 \| 0.75 \|", table)
    assert "beyond imports" not in table


def test_share_and_bound_are_of_the_needed_operations():
    own = summarise_speed(frame(UNEVEN), {"toy": TOY}).set_index("model").loc["MMVAEPlusPlus"]
    flops = needed_flops(TOY, Architecture()).dense
    assert own["gflop"] == pytest.approx(flops / 1e9)
    assert own["share"] == pytest.approx(flops / 2.0 / 1e9)
    least = bound(TOY, Architecture(), Rates(**RATES))
    assert own["bound ratio"] == pytest.approx(2.0 / least.total)


def test_axes_are_found_by_name(tmp_path):
    assert axes_named([]) == []
    assert axes_named(["cells"]) == [AXES[0]]
    with pytest.raises(ValueError, match=r"no growth curve over 'depth'.*cells, latents, modalities, peaks"):
        run_toy(tmp_path, growth=["cells", "depth"])
    assert not any(tmp_path.iterdir())


def test_growth_is_by_the_cell():
    race = frame({"VennVI": [1.0, 2.0]})
    more = frame({"VennVI": [4.0, 10.0]}).assign(
        workload=lambda f: f["workload"].replace("toy", "big"), n_obs=2 * N_OBS
    )
    assert growth_ratio(pd.concat([race, more]), "big", "toy") == pytest.approx((2.0 + 2.5) / 2)


def test_targets_are_judged_or_said_not_to_be_measured():
    summary = pd.DataFrame(
        {
            "workload": "peaks-20k",
            "threads": ["1", "all"],
            "model": "VennVI",
            "seconds ratio": [0.44, 0.51],
            "memory ratio": 0.5,
            "n_obs": 1536,
        }
    )
    no_races, no_trainings = (pd.DataFrame(columns=list(names)) for names in (COLUMNS_ON_DISK, quality.COLUMNS))
    verdicts = judge_speed(summary, no_races, no_trainings)
    own = verdicts[(verdicts["what"] == "peaks-20k") & (verdicts["model"] == "VennVI")]
    assert own["met"].tolist() == ["yes", "no", "yes"]
    assert set(own["n_obs"]) == {1536}
    assert set(verdicts.drop(own.index)["met"]) == {"not measured"}


# ----------------------------------------------------------------------------------------------------- products
@pytest.mark.parametrize("n_modalities", [2, 3])
@pytest.mark.parametrize("n_obs", [16, 40])
def test_needed_flops_are_those_of_the_bare_loop(n_modalities, n_obs):
    workload = real(n_modalities, n_obs=n_obs, batch_size=16)
    widths = [modality.n_features for modality in workload.modalities.values()]
    model = BareMMVAEPlusPlus(widths, 3, 2, n_hidden=8)
    with FlopCounterMode(display=False) as counter:
        for rows in torch.arange(n_obs).split(16):
            model.loss([torch.randn(len(rows), d) for d in widths], 1.0).backward()
    needed = needed_flops(workload, Architecture(n_hidden=8))
    assert needed.sparse == 0
    assert needed.dense == counter.get_total_flops()


@pytest.mark.parametrize("name", ["MMVAEPlusPlus", "VennVI"])
def test_our_models_do_what_is_needed_and_little_more(name, tmp_path, monkeypatch):
    views = {"view1": Modality("real", 60), "view2": Modality("real", 90)}
    workload = dataclasses.replace(TOY, modalities=views, batch_size=N_OBS)
    write_data(workload, tmp_path)
    counter, architecture = CountFlops(), CONTESTANTS[name].architecture
    monkeypatch.setattr("vennvi.nn._without_zeros", lambda matrix, dim: (torch.arange(matrix.shape[dim]), matrix))
    CONTESTANTS[name].run(Job(read_data(workload, tmp_path), workload, 1, "cpu", counter))
    needed = needed_flops(workload, dataclasses.replace(architecture, n_in_use=architecture.n_canonical))
    assert needed.dense <= 1.001 * counter.flops
    assert counter.flops <= 1.2 * needed.dense


def test_sparse_first_layers_need_stored_entries_only():
    dense = dataclasses.replace(TOY, modalities={m: Modality("real", x.n_features) for m, x in COUNTS.items()})
    at_once = needed_flops(dense, Architecture())
    stored = needed_flops(TOY, Architecture())
    width = sum(4 * N_OBS * x.n_features * 128 for x in COUNTS.values())
    assert at_once.dense - stored.dense == pytest.approx(width)
    assert stored.sparse == pytest.approx(sum(4 * N_OBS * x.n_features * x.density * 128 for x in COUNTS.values()))
    assert needed_flops(TOY, Architecture(), {"rna": 10, "atac": 20}).sparse == 4 * 30 * 128


def test_a_quarter_of_the_features_needs_a_quarter_of_the_decoder():
    one = dataclasses.replace(TOY, modalities={"atac": COUNTS["atac"]})
    whole, quarter = (needed_flops(one, Architecture(fraction={"atac": f})) for f in (1.0, 0.25))
    assert quarter.decoder_output == whole.decoder_output / 4
    assert quarter.total - quarter.decoder_output == whole.total - whole.decoder_output
    rates = Rates(**RATES)
    assert bound(one, Architecture(fraction={"atac": 0.25}), rates).total < bound(one, Architecture(), rates).total


def test_the_bound_adds_up_its_parts():
    least = bound(TOY, Architecture(), Rates(**RATES))
    outputs = 2 * N_OBS * 32  # terms x cells x features
    assert least.likelihood == pytest.approx(outputs * (5 * 4 / 1e9 + 1 / 1e8))
    assert least.optimiser == pytest.approx(3 * 32 * 256 * 7 * 4 / 1e9)  # steps x weights x passes x bytes
    assert least.total == pytest.approx(least.products + least.likelihood + least.optimiser + least.sparse)
    assert getattr(least, least.largest) == max(least.products, least.likelihood, least.optimiser, least.sparse)


# ------------------------------------------------------------------------------------------------------ bare loop
def test_the_bare_loss_is_the_models(monkeypatch, tmp_path):
    workload = real()
    write_data(workload, tmp_path)
    mdata = read_data(workload, tmp_path)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2, n_hidden=8)
    module = model.module.train()
    bare = BareMMVAEPlusPlus([mdata[m].n_vars for m in model.modalities], 3, 2, n_hidden=8)
    with torch.no_grad():
        for i, m in enumerate(model.modalities):
            encoder, decoder = module.encoders[m], module.decoders[m]
            for ours, theirs in (
                (bare.shared[i], encoder.shared),
                (bare.private[i], encoder.private),
                (bare.decode[i][0], decoder.input),
                (bare.decode[i][2], decoder.output),
            ):
                ours.load_state_dict(theirs.state_dict())
            bare.encode[i][0].weight.copy_(encoder.input.weight.T)
            bare.encode[i][0].bias.copy_(encoder.input.bias)
            bare.noise[i].copy_(module.likelihood(m).raw_noise_sd)
    # the draws are the means
    monkeypatch.setattr(torch.distributions.Normal, "rsample", lambda self, shape=(): self.loc)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    tensors = next(iter(model._make_data_loader(mdata, indices=np.arange(16), batch_size=16)))
    _, _, output = module(tensors, loss_kwargs={"kl_weight": 0.5})
    views = []
    for m in model.modalities:
        likelihood = module.likelihood(m)
        views.append((torch.as_tensor(mdata[m].X[:16]) - likelihood.mean) / likelihood.sd)
    torch.testing.assert_close(bare.loss(views, 0.5), output.loss, rtol=1e-4, atol=1e-3)


def test_the_bare_loop_learns():
    x = torch.randn(60, 2) @ torch.randn(2, 8)
    _, history = train_bare({"a": x, "b": x[:, :5]}, n_shared=2, n_private=1, n_epochs=40, batch_size=20)
    assert len(history) == 40
    assert history[-1] < 0.8 * history[0]


# ---------------------------------------------------------------------------------------------------- contestants
class Counts(Hooks):
    """Counts calls."""

    def __init__(self):
        self.epochs = self.starts = self.ends = 0

    def epoch_starts(self):
        self.epochs += 1

    def batch_starts(self):
        self.starts += 1

    def batch_ends(self):
        self.ends += 1


@pytest.mark.filterwarnings("ignore")  # of scvi-tools' own models; a contestant's process is silent
@pytest.mark.parametrize(
    ("name", "modalities"),
    [
        pytest.param("MMVAEPlusPlus", COUNTS, id="MMVAEPlusPlus"),
        pytest.param("VennVI", COUNTS, id="VennVI"),
        pytest.param("VennVI-quarter", COUNTS, id="VennVI-quarter"),
        pytest.param("VennVI-bf16", COUNTS, id="VennVI-bf16"),
        pytest.param("MULTIVI", COUNTS, id="MULTIVI"),
        pytest.param("TOTALVI", PROTEINS, id="TOTALVI"),
        pytest.param("bare", REAL, id="bare"),
    ],
)
def test_every_contestant_calls_the_hooks(name, modalities, tmp_path):
    workload = dataclasses.replace(TOY, modalities=modalities)
    write_data(workload, tmp_path)
    counts = Counts()
    CONTESTANTS[name].run(Job(read_data(workload, tmp_path), workload, 2, "cpu", counts))
    assert (counts.epochs, counts.starts, counts.ends) == (2, 6, 6)


def test_multivae_trains(tmp_path):
    pytest.importorskip("multivae", reason="of the bench extra")
    workload = dataclasses.replace(TOY, modalities=REAL)
    write_data(workload, tmp_path)
    CONTESTANTS["multivae-MMVAEPlus"].run(Job(read_data(workload, tmp_path), workload, 1, "cpu"))


@pytest.mark.parametrize(
    ("name", "modalities", "said"),
    [
        pytest.param("MULTIVI", REAL, "counts, binary; this workload holds real, real", id="MULTIVI"),
        pytest.param("TOTALVI", COUNTS, "counts, protein; this workload", id="TOTALVI"),
        pytest.param("bare", COUNTS, "this workload holds counts, binary", id="bare"),
        pytest.param("VennVI-quarter", REAL, "no modality atac", id="quarter"),
    ],
)
def test_contestants_say_where_they_do_not_apply(name, modalities, said, tmp_path):
    workload = dataclasses.replace(TOY, modalities=modalities)
    write_data(workload, tmp_path)
    with pytest.raises(CannotRun, match=said):
        CONTESTANTS[name].run(Job(read_data(workload, tmp_path), workload, 1, "cpu"))


def test_subsampling_says_where_it_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(vennvi.VennVI, "train", lambda self, max_epochs=1: None)
    write_data(TOY, tmp_path)
    with pytest.raises(CannotRun, match="no argument feature_fraction"):
        CONTESTANTS["VennVI-quarter"].run(Job(read_data(TOY, tmp_path), TOY, 1, "cpu"))


# -------------------------------------------------------------------------------------------------------- profile
@pytest.mark.parametrize(
    ("name", "ancestors", "category"),
    [
        pytest.param("aten::mm", ["autograd::engine::evaluate_function: MmBackward0"], "matrix products", id="mm"),
        pytest.param("aten::_embedding_bag", [], "sparse first layer", id="embedding"),
        pytest.param("_InputProductBackward", [], "sparse first layer", id="own backward"),
        pytest.param("aten::softplus", [], "elementwise", id="softplus"),
        pytest.param("aten::logsumexp", [], "sums", id="logsumexp"),
        pytest.param("aten::copy_", [], "copies", id="copy"),
        pytest.param(
            "aten::copy_", ["enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"], "loading", id="load"
        ),
        pytest.param("aten::_fused_adam_", [], "optimiser", id="adam"),
        pytest.param("aten::mul_", ["Optimizer.step#Adam.step"], "optimiser", id="adam by hand"),
        pytest.param("aten::_embedding_bag", ["Optimizer.step"], "sparse first layer", id="late gradient"),
        pytest.param(PRODUCT_MARK, [], "matrix products", id="numpy"),
        pytest.param("Anything", [], "Python and the rest", id="rest"),
    ],
)
def test_events_have_their_category(name, ancestors, category):
    assert category_of(name, ancestors) == category


@pytest.mark.parametrize("name", ["VennVI", "bare"])
def test_a_profile_adds_up_to_the_clock(name, tmp_path):
    workload = dataclasses.replace(TOY, modalities={"view1": Modality("real", 400), "view2": Modality("real", 300)})
    write_data(workload, tmp_path)
    profile = ProfileSteps(2, n_skip=1)
    job = Job(read_data(workload, tmp_path), workload, 4, "cpu", profile)
    train_until_enough(lambda _: CONTESTANTS[name].run(job), profile)
    assert profile.n_done == 2
    found = seconds_by_category(profile.events, profile.seconds, 2)
    assert set(found) == set(CATEGORIES)
    assert sum(found.values()) == pytest.approx(profile.seconds / 2, rel=0.1)
    assert min(found["matrix products"], found["elementwise"], found["optimiser"]) > 0
    # the step is not the optimiser's, although Lightning runs it in there
    assert found["optimiser"] < 0.5 * sum(found.values())


def test_profiles_are_in_milliseconds_in_the_order_of_the_race():
    rows = frame(UNEVEN, **{"profile: copies": {"VennVI": 0.002}, "profile: sums": {"VennVI": 0.001}})
    found = profile_of(rows, {"toy": TOY})
    assert found.to_dict("records") == [
        {"workload": "toy", "threads": "1", "model": "VennVI", "copies": 2.0, "sums": 1.0}
    ]


# ------------------------------------------------------------------------------------------------------------ run
def run_toy(out, workload=TOY, **options):
    usual = {"threads": ["1"], "repeats": 1, "quality": False, "launch": in_thread}
    return run_speed(out, workloads=[workload], **usual | options)


@pytest.fixture
def toy_known(monkeypatch):
    for name in TOY.models:
        train = {"train": fake, "kwargs": {"name": name, "log": []}}
        monkeypatch.setitem(CONTESTANTS, name, dataclasses.replace(CONTESTANTS[name], **train))
    monkeypatch.setitem(WORKLOADS, "toy", TOY)
    monkeypatch.setitem(WORKLOADS, "real", real())


def test_the_machine_names_the_blas_only_where_it_multiplies(monkeypatch):
    for multiply, accelerator, named in ((NumpyMultiply(), "cpu", True), (NumpyMultiply(), "gpu", False), (Multiply(), "cpu", False)):  # fmt: skip
        monkeypatch.setattr(_machine, "fastest_multiply", lambda multiply=multiply: multiply)
        assert ("OpenBLAS" in _machine.describe_machine(accelerator)) == named


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["processor : 0", "cpu family : 25", "model : 17", "model name : AMD EPYC", "", "processor : 1", "model name : other"],
         "AMD EPYC (family 25, model 17)"),
        (["model name : Virtual CPU: 2 GHz"], "Virtual CPU: 2 GHz"),
        (["processor : 0", "CPU part : 0xd0c"], "known to Python"),
    ],
)  # fmt: skip
def test_processors_of_the_same_name_are_told_apart(lines, named, monkeypatch):
    monkeypatch.setattr(_machine.Path, "read_text", lambda *_, **__: "\n".join(lines))
    monkeypatch.setattr(_machine.platform, "processor", lambda: "known to Python")
    assert _machine._processor() == named


@pytest.mark.usefixtures("toy_known")
def test_run_writes_resumes_and_grows(tmp_path):
    said: list[str] = []
    verdicts, results = run_toy(tmp_path, models=["VennVI"], said=said.append)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"results.csv", "summary.csv", "targets.csv", "table.md", "figure.png"} <= written
    assert (tmp_path / "figure.png").stat().st_size > 5_000
    assert set(results["model"]) == {"VennVI", MACHINE}
    assert set(verdicts["met"]) == {"not measured"}
    assert "cores" in results["machine"].iloc[0]
    assert any("round 1 of 1" in what for what in said)

    path = tmp_path / "races" / "toy__1.csv"
    before = path.stat().st_mtime_ns
    run_toy(tmp_path, models=["VennVI"])
    assert path.stat().st_mtime_ns == before
    # one race has all contestants, so a new one makes the others run again
    _, results = run_toy(tmp_path, models=["MMVAEPlusPlus"])
    assert set(results["model"]) == {"MMVAEPlusPlus", "VennVI", MACHINE}
    assert "MMVAE++" in (tmp_path / "table.md").read_text()
    with pytest.raises(OtherResultsError, match="n_obs of toy 40, not 20"):
        run_toy(tmp_path, workload=dataclasses.replace(TOY, n_obs=20))


@pytest.mark.usefixtures("toy_known")
@pytest.mark.parametrize("asked", [True, False])
def test_a_run_says_that_qualities_are_of_one_thread(asked, tmp_path):
    said: list[str] = []
    run_toy(tmp_path, threads=["all"], quality=asked, models=["VennVI"], said=said.append)
    assert any("--threads 1" in what for what in said) == asked


@pytest.mark.usefixtures("toy_known")
def test_what_cannot_run_is_in_the_table_and_retried_when_asked(tmp_path):
    workload = real(models=("VennVI-quarter", "bare"), reference="bare")
    for _ in range(2):
        _, results = run_toy(tmp_path, workload=workload)
        broken = results[results["status"] != "ok"]
        assert broken["reason"].unique().tolist() == ["The workload has no modality atac."]
    times = (tmp_path / "races" / "real__1.csv").stat().st_mtime_ns
    run_toy(tmp_path, workload=workload, retry=True)
    assert (tmp_path / "races" / "real__1.csv").stat().st_mtime_ns > times


@pytest.mark.usefixtures("toy_known")
def test_growth_takes_turns_with_itself(tmp_path):
    verdicts, results = run_toy(tmp_path, models=["VennVI"], growth=["all"], quick=True)
    races = set(results["race"]) - {"toy"}
    assert races == {f"growth-{axis.name}-VennVI" for axis in AXES}
    growth = pd.read_csv(tmp_path / "growth.csv")
    cells = next(axis for axis in AXES if axis.name == "cells")
    assert tuple(growth.loc[growth["axis"] == "cells", "value"]) == cells.quick_values
    assert (growth.loc[growth["axis"] == "cells", "n_obs"] == list(cells.quick_values)).all()
    assert "## Growth" in (tmp_path / "table.md").read_text()
    assert "yes" not in set(verdicts["met"])  # the target is about more cells than these
    path = race_path(tmp_path, cells.race("VennVI"), "1")
    assert is_complete(path, ["VennVI"], cells.workloads(quick=True), 1, retry=False)
    assert not is_complete(path, ["VennVI"], cells.workloads(quick=False), 1, retry=False)


@pytest.mark.slow
def test_real_processes_are_timed(tmp_path):
    workload = real(unit="training", n_epochs=2)
    write_data(workload, tmp_path / "real")
    rows = run_race([Entry(CONTESTANTS["bare"], workload)], Course(tmp_path, 1, 1, n_profiled=2))
    found = rows[rows["model"] == "bare"].set_index("quantity")["value"]
    assert found["peak MB"] >= found["MB before training"] > 50
    assert found["seconds"] > 0
    assert found["profile: matrix products"] > 0


# -------------------------------------------------------------------------------------------------------- quality
def test_seconds_to_a_quality_are_those_of_the_shortest_training_that_reaches_it():
    rows = pd.DataFrame(
        [
            ("gp-recovery", "VennVI", epochs, seed, "ok", seconds + seed, value)
            for epochs, seconds, value in ((5, 1.0, 0.5), (10, 2.0, 0.96), (20, 4.0, 0.99))
            for seed in range(3)
        ],
        columns=["task", "model", "epochs", "seed", "status", "seconds", "value"],
    )
    assert quality.RECOVERED.seconds(rows, "VennVI") == 3.0
    assert np.isnan(quality.RECOVERED.seconds(rows, "MMVAEPlusPlus"))


def test_the_report_says_who_reaches_the_level_and_when():
    rows = pd.DataFrame(
        [
            ("gp-recovery", "VennVI", 5, 0, "ok", 2.0, 0.97),
            ("gp-recovery", "multivae-MMVAEPlus", 5, 0, "ok", 9.0, 0.1),
            ("rna-atac-types", "MULTIVI", 60, 0, "ok", 80.0, 0.76),
        ],
        columns=["task", "model", "epochs", "seed", "status", "seconds", "value"],
    )
    text = "\n".join(_quality(rows))
    assert "0.95 is reached: VennVI in 2.00 s; MMVAE+ (multivae) not." in text
    assert "0.75 is reached: MULTIVI in 80.00 s." in text


def test_peers_are_asked_for_the_same_quality_where_they_apply():
    asked = {task.name: task.models for task in quality.TASKS if task.level is not None}
    assert all({"VennVI", "MMVAEPlusPlus"} < set(models) for models in asked.values())
    peers = {name for models in asked.values() for name in models} - {"VennVI", "VennVI-bf16", "MMVAEPlusPlus"}
    assert peers == {"multivae-MMVAEPlus", "MULTIVI", "TOTALVI"}
    for task in quality.TASKS:
        assert (*task.reading[:3],) in {headline.key for headline in task.experiment.headlines}


def test_deviances_are_compared_at_the_longest_training():
    rows = pd.DataFrame(
        [
            ("peaks-from-genes", model, epochs, 0, "ok", 1.0, value)
            for model, epochs, value in (
                ("VennVI", 10, 0.0),
                ("VennVI", 20, 0.2),
                ("VennVI-quarter", 10, 0.5),
                ("VennVI-quarter", 20, 0.192),
            )
        ],
        columns=["task", "model", "epochs", "seed", "status", "seconds", "value"],
    )
    assert quality.EQUAL.deviance_ratio(rows, "VennVI-quarter") == pytest.approx(1.01)
    failed = rows.iloc[:1].assign(seed=1, status="failed")
    assert np.isnan(quality.EQUAL.deviance_ratio(pd.concat([rows, failed]), "VennVI-quarter"))


def test_a_training_is_timed_and_read(tiny):
    task = quality.QualityTask(
        "t", "t", tiny, "low", tiny.latents[0], ("shared", "y", "auc_test"), ("PCA+CCA", "TOTALVI"), (1,)
    )
    row = quality.train_and_read(task, "PCA+CCA", 1, 0)
    assert row["status"] == "ok"
    assert row["seconds"] > 0
    assert row["value"] > 0.8
    assert quality.train_and_read(task, "TOTALVI", 1, 0)["status"] == "cannot"


class Here:
    """A pool that works in this process."""

    def __init__(self, **_):
        pass

    __enter__ = lambda self: self  # noqa: E731
    __exit__ = lambda *_: None  # noqa: E731

    def submit(self, function, *args):
        future = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def test_trainings_are_reported_without_races_and_absent_data_are_no_result(tiny, tmp_path, monkeypatch):
    task = quality.QualityTask(
        "t", "t", tiny, "low", tiny.latents[0], ("shared", "y", "auc_test"), ("VennVI", "TOTALVI"), (1,), 0.5
    )
    monkeypatch.setattr(quality, "ProcessPoolExecutor", Here)
    for module in ("_run", "_table"):
        monkeypatch.setattr(f"vennvi.benchmark.speed.{module}.TASKS", (task,))

    def absent(**_):
        raise FileNotFoundError("Set VENNVI_DATA.")

    elsewhere = dataclasses.replace(task, experiment=dataclasses.replace(tiny, build=absent))
    with pytest.warns(UserWarning, match=r"Left out: VennVI at t. Set VENNVI_DATA."):
        assert quality.run_quality([(elsewhere, 1, 0, "VennVI")], tmp_path).empty
    _, results = run_speed(tmp_path, workloads=[], threads=["1"], models=["VennVI", "TOTALVI"])
    assert results.empty
    assert set(pd.read_csv(tmp_path / "quality.csv")["status"]) == {"ok", "cannot"}
    text = (tmp_path / "table.md").read_text()
    assert "0.5 is reached: VennVI in" in text
    assert "cannot run at t: " in text
    with pytest.raises(CannotStartError, match=r"nothing to run: VennVI take part in none"):
        run_speed(tmp_path / "none", workloads=[], models=["VennVI"], quality=False)
    with pytest.raises(CannotStartError, match="no accelerator 'banana'"):
        run_speed(tmp_path / "none", accelerator="banana")
    assert not (tmp_path / "none").exists()


# ------------------------------------------------------------------------------------------------------------ CLI
runner = CliRunner(env={"COLUMNS": "200"})


def test_list_shows_it():
    result = runner.invoke(app, ["list"])
    assert result.exit_code == 0
    for name in ("speed", *WORKLOADS, "MULTIVI"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["speed", "--workloads", "nope"], "no workload", id="workload"),
        pytest.param(["speed", "--models", "nope"], "no contestant", id="model"),
        pytest.param(["speed", "--threads", "some"], "at least 1, or all", id="threads"),
        pytest.param(["speed", "--seeds", "2"], "Leave out --seeds", id="option of experiments"),
        pytest.param(["gp", "--growth", "all"], "only speed has", id="option of speed"),
    ],
)
def test_mistakes_are_explained(arguments, said, tmp_path):
    result = runner.invoke(app, ["run", *arguments, "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_names_are_found():
    assert get_contestant(" vennvi ").name == "VennVI"
    assert get_workload("gaussian").unit == "training"
    assert n_threads("all") >= 1
