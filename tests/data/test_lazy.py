"""A MuData around matrices that stay in their file: the same minibatches, and nothing of the user's is touched."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
import torch
from scipy import sparse
from toy import N_OBS, toy_mudata

import vennvi
from vennvi.data._lazy import lazy_mudata

SETUP = {"layers": {"protein": "raw", "rna": "counts"}, "batch_key": "batch", "continuous_covariate_keys": ["age"]}


def minibatch(mdata):
    vennvi.MMVAE.setup_mudata(mdata, **SETUP)
    return vennvi.MMVAE._get_most_recent_anndata_manager(mdata).create_torch_dataset()[list(range(N_OBS))]


@pytest.mark.parametrize("source", ["memory", "backed", "path"])
def test_same_minibatches(tmp_path, source):
    mdata = toy_mudata(3, absent=True, missing_entries=True, permuted=True)
    mdata["rna"].layers["counts"] = 2 * mdata["rna"].X
    mdata["protein"].layers["raw"] = 2 * mdata["protein"].X
    expected = minibatch(mdata.copy())
    path = tmp_path / "toy.h5mu"
    mdata.write(path)
    data = {"memory": mdata, "backed": None, "path": path}[source]
    if data is None:
        data = mudata.read_h5mu(path, backed="r")
    before = None if source == "path" else (list(data.obs), list(data.uns), list(data["rna"].obs))
    with lazy_mudata(data, ["batch", "age"]) as lazy:
        assert list(lazy.mod) == list(mdata.mod)
        if source == "path":
            assert not any(isinstance(lazy[m].X, np.ndarray) or sparse.issparse(lazy[m].X) for m in lazy.mod)
            assert not sparse.issparse(lazy["rna"].layers["counts"])
        found = minibatch(lazy)
    assert found.keys() == expected.keys()
    for key, x in expected.items():
        a, b = (v.to_dense() if isinstance(v, torch.Tensor) else v for v in (found[key], x))
        np.testing.assert_array_equal(a, b, err_msg=key)
    if source != "path":
        assert (list(data.obs), list(data.uns), list(data["rna"].obs)) == before
    if source == "backed":
        data.file.close()
