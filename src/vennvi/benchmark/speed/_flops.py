r"""Floating-point operations that an epoch's matrix products need, and how long they and the rest must take at least.

A product of an :math:`a \times b` with a :math:`b \times c` matrix is :math:`2abc` operations; training takes two more of
that size where both factors need a gradient, one where one does. For modality :math:`m` with :math:`d_m` features of which
:math:`z_m` entries are stored, :math:`n` cells, :math:`T` reconstruction terms, hidden width :math:`h` and latents
:math:`k = k_s + k_p`:

========================= ====================================== =================================
part                      forward                                with backward
========================= ====================================== =================================
first encoder layer       :math:`2 z_m h` (dense: :math:`2 n d_m h`) twice (data need no gradient)
encoder heads             :math:`4 n h k`                        three times
decoder, hidden layer     :math:`2 T n k h`                      three times
decoder, output layer     :math:`2 T n h f d_m`                  three times
========================= ====================================== =================================

with :math:`f` the fraction of the features that a step decodes. VennVI's canonical variates add the products with the
projections.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from vennvi.benchmark.speed._contestant import Architecture
from vennvi.benchmark.speed._workload import Workload
from vennvi.nn import MAX_EXPLAINED_VARIATES

#: Passes over the decoder's outputs: written; read and replaced by their gradient; that read by two products.
_LOGIT_PASSES = 5
#: Adam reads parameter, gradient and two moments, and writes three of them.
_ADAM_PASSES = 7
_BYTES = 4


@dataclass(frozen=True)
class Flops:
    """Operations of an epoch by part; ``sparse`` are products with stored entries only."""

    sparse: float = 0.0
    encoder: float = 0.0
    decoder_hidden: float = 0.0
    decoder_output: float = 0.0
    canonical: float = 0.0
    alignment: float = 0.0

    @property
    def dense(self) -> float:
        """All but the sparse products."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name != "sparse")

    @property
    def total(self) -> float:
        """All."""
        return self.dense + self.sparse


def needed_flops(workload: Workload, architecture: Architecture, stored: Mapping[str, float] | None = None) -> Flops:
    """Operations of one epoch of MMVAE++ or VennVI.

    Parameters
    ----------
    workload
        Cells, features, latent sizes.
    architecture
        The model.
    stored
        Stored entries by modality; by default what the densities say.

    Examples
    --------
    Most of it is the last layer of the decoder of the peaks:

    >>> from vennvi.benchmark.speed._workload import WORKLOADS
    >>> flops = needed_flops(WORKLOADS["peaks-20k"], Architecture())
    >>> round(flops.decoder_output / 1e9), round(flops.total / 1e9)
    (338, 345)
    """
    n, h, k_s, k_p = workload.n_obs, architecture.n_hidden, workload.n_shared, workload.n_private
    n_modalities = n_terms = len(workload.modalities)
    n_steps = math.ceil(n / workload.batch_size)
    sparse = encoder = hidden = output = canonical = 0.0
    for name, modality in workload.modalities.items():
        d, fraction = modality.n_features, architecture.fraction.get(name, 1.0)
        entries = n * d * modality.density if stored is None else stored[name]
        read = 2 * entries * (2 * h + architecture.n_in_use)  # the projection has no gradient
        if modality.is_sparse:
            sparse += read
        else:
            encoder += read
        layers = 2 * n * h * h * (architecture.n_layers - 1)
        heads = 2 * n * h * 2 * k_p + (0 if architecture.n_canonical else 2 * n * h * 2 * k_s)
        encoder += 3 * (layers + heads)
        hidden += 3 * (2 * n_terms * n * (k_s + k_p) * h + n_terms * layers)
        output += 3 * 2 * n_terms * n * h * fraction * d
        if c := architecture.n_canonical:
            canonical += 2 * (2 * n * c * h + 2 * n * c * k_s) + 3 * 2 * n * h * 2 * k_s  # the shared head
            e = min(architecture.n_in_use, MAX_EXPLAINED_VARIATES)
            canonical += 2 * (2 * n_steps * e * d * h) + 2 * (2 * n * e * h)  # what the private encoder is spared
    alignment = 0.0
    if architecture.aligned:
        sizes = [workload.batch_size] * (n // workload.batch_size) + [n % workload.batch_size]
        n_pairs = n_modalities * (n_modalities - 1) / 2
        alignment = 3 * n_pairs * sum(2 * size**2 * k_s for size in sizes)
    return Flops(sparse, encoder, hidden, output, canonical, alignment)


@dataclass(frozen=True)
class Rates:
    """What the machine was measured to do, with the threads of the race."""

    flops: float
    """Operations a second of a large float32 product."""
    bytes: float
    """Bytes a second that an addition of large arrays reads and writes."""
    logistic: float
    """Elements a second of softplus and its derivative, in cache."""


@dataclass(frozen=True)
class Bound:
    """Seconds that an epoch takes at least if its parts follow each other, each at the machine's rate."""

    products: float
    likelihood: float
    optimiser: float
    sparse: float

    @property
    def total(self) -> float:
        """All together."""
        return self.products + self.likelihood + self.optimiser + self.sparse

    @property
    def largest(self) -> str:
        """Name of the largest part."""
        return max((field.name for field in fields(self)), key=lambda name: getattr(self, name))


def bound(
    workload: Workload, architecture: Architecture, rates: Rates, stored: Mapping[str, float] | None = None
) -> Bound:
    """Least seconds of an epoch: dense products, passes over the decoder's outputs, optimiser, sparse products.

    The outputs are written, turned into their gradient (one softplus and one sigmoid each), and that is read twice. Adam
    makes seven passes over the parameters a step. A stored entry reads a row of the first layer's weight and adds to
    one of its gradient.
    """
    flops = needed_flops(workload, architecture, stored)
    n_terms, n_steps = len(workload.modalities), math.ceil(workload.n_obs / workload.batch_size)
    outputs = parameters = entries = 0.0
    for name, modality in workload.modalities.items():
        d, fraction = modality.n_features, architecture.fraction.get(name, 1.0)
        outputs += n_terms * workload.n_obs * fraction * d
        parameters += d * architecture.n_hidden * (1 + fraction)
        if modality.is_sparse:
            entries += workload.n_obs * d * modality.density if stored is None else stored[name]
    return Bound(
        products=flops.dense / rates.flops,
        likelihood=outputs * _LOGIT_PASSES * _BYTES / rates.bytes + outputs / rates.logistic,
        optimiser=n_steps * parameters * _ADAM_PASSES * _BYTES / rates.bytes,
        sparse=entries * (3 * architecture.n_hidden + architecture.n_in_use) * _BYTES / rates.bytes,
    )
