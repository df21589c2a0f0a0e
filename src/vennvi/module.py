"""The one module behind every model: encoders, decoders and the loss that a table of terms describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import cross_entropy, one_hot

from vennvi._keys import CELLS_BEHIND, data_key, expert_name, mask_key, reconstruction_name, size_factor_key
from vennvi._runs import Runs, random_runs
from vennvi.distributed import cells_per_rank, gather_rows
from vennvi.fusion import product_of_experts, weighted_kl
from vennvi.likelihoods import LIKELIHOODS, Columns, Likelihood
from vennvi.nn import Decoder, Encoder
from vennvi.objectives import CrossPrivate, Expert, Objective, Term
from vennvi.penalties import info_nce


class SharedPrivateVAE(BaseModuleClass):
    r"""A VAE with one shared latent and one private latent for each modality, trained on a table of terms.

    .. math:: q(s \mid x_m),\; q(p_m \mid x_m) \quad\text{and}\quad p(x_m \mid s, p_m, c), \qquad s, p_m \sim N(0, I)

    The loss is the one of :mod:`vennvi.objectives`. With labels, a linear head :math:`p(y \mid s)` on every expert's
    draw of the shared latent adds its weighted cross-entropy, unlabelled cells left out.

    Parameters
    ----------
    n_inputs
        Number of features of each modality, by name.
    likelihoods
        Name of each modality's likelihood (see :mod:`vennvi.likelihoods`).
    objective
        From modality names to the table of terms.
    n_shared
        Dimensions of the shared latent.
    n_private
        Dimensions of each modality's private latent.
    n_hidden, n_layers, dropout_rate
        Width and number of the hidden layers of encoders and decoders, and the dropout between them.
    use_size
        Whether cells differ in depth, by modality.
    modality_weights
        Weight of each modality's log-probability.
    n_batch, n_cats_per_cov, n_continuous_cov
        Covariates of the decoders: batches, categories of each further categorical covariate, continuous covariates.
    encode_covariates
        Whether the encoders read the covariates too.
    n_labels
        Number of labelled classes; 0 without labels. Labels from ``n_labels`` on mean "unlabelled".
    classification_weight
        Weight of the cross-entropy of the labels.
    cross_private
        The target's private latent in cross-modal terms, ``"zeros"`` or a draw from the ``"prior"``.
    alignment_weight, alignment_scale
        Weight and distance :math:`\tau` of :func:`~vennvi.penalties.info_nce` between every two modalities' draws of the
        shared latent; off with weight 0.
    private_kl_weight
        Weight of the private latents' KL terms relative to the shared ones'.
    n_canonical
        Canonical variates that the shared posteriors are read off (:class:`~vennvi.nn.CanonicalHead`); off with 0.
    residual_private
        With canonical variates, whether the private encoders read what these leave of the data.
    """

    def __init__(
        self,
        n_inputs: Mapping[str, int],
        likelihoods: Mapping[str, str],
        objective: Callable[[Sequence[str], CrossPrivate], Objective],
        n_shared: int,
        n_private: Mapping[str, int],
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.0,
        use_size: Mapping[str, bool] | None = None,
        modality_weights: Mapping[str, float] | None = None,
        n_batch: int = 1,
        n_cats_per_cov: Sequence[int] = (),
        n_continuous_cov: int = 0,
        encode_covariates: bool = False,
        n_labels: int = 0,
        classification_weight: float = 100.0,
        cross_private: CrossPrivate = "zeros",
        alignment_weight: float = 0.0,
        alignment_scale: float = 0.2,
        private_kl_weight: float = 1.0,
        n_canonical: int = 0,
        residual_private: bool = False,
    ):
        super().__init__()
        self.alignment_weight, self.alignment_scale = alignment_weight, alignment_scale
        self.private_kl_weight, self.n_canonical = private_kl_weight, n_canonical
        self.modalities = tuple(n_inputs)
        self.objective = objective(self.modalities, cross_private)
        self.n_shared, self.n_private = n_shared, dict(n_private)
        self.n_batch, self.n_cats_per_cov, self.n_continuous_cov = n_batch, tuple(n_cats_per_cov), n_continuous_cov
        self.encode_covariates, self.cross_private = encode_covariates, cross_private
        self.feature_fraction: dict[str, float] = {}  # set for the time of a training
        self.n_labels, self.classification_weight = n_labels, classification_weight
        self.modality_weights = dict.fromkeys(self.modalities, 1.0) | dict(modality_weights or {})
        use_size = dict.fromkeys(self.modalities, True) | dict(use_size or {})

        n_covariates = self.n_covariates
        self.likelihoods = nn.ModuleDict(
            {m: LIKELIHOODS[likelihoods[m]](d, use_size=use_size[m]) for m, d in n_inputs.items()}
        )
        self.encoders = nn.ModuleDict(
            {
                m: Encoder(
                    d,
                    n_shared,
                    self.n_private[m],
                    n_hidden,
                    n_layers,
                    dropout_rate,
                    n_covariates if encode_covariates else 0,
                    n_canonical,
                    residual_private,
                )
                for m, d in n_inputs.items()
            }
        )
        self.decoders = nn.ModuleDict(
            {
                m: Decoder(
                    n_shared + self.n_private[m],
                    d * self.likelihood(m).n_outputs,
                    n_hidden,
                    n_layers,
                    dropout_rate,
                    n_covariates,
                )
                for m, d in n_inputs.items()
            }
        )
        self.classifier = nn.Linear(n_shared, n_labels) if n_labels else None

    def likelihood(self, modality: str) -> Likelihood:
        """Likelihood of one modality."""
        return self.likelihoods[modality]  # type: ignore[return-value]

    def decoder(self, modality: str) -> Decoder:
        """Decoder of one modality."""
        return self.decoders[modality]  # type: ignore[return-value]

    @property
    def n_covariates(self) -> int:
        """Width of the covariates that a decoder reads."""
        return (self.n_batch if self.n_batch > 1 else 0) + sum(self.n_cats_per_cov) + self.n_continuous_cov

    # ------------------------------------------------------------------------------------------------ inference
    def covariates(self, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Covariates side by side, categories one-hot, shape ``(n, n_covariates)``; ``None`` if there are none."""
        parts = []
        if self.n_batch > 1:
            parts.append(one_hot(tensors[REGISTRY_KEYS.BATCH_KEY].squeeze(-1).long(), self.n_batch).float())
        if self.n_cats_per_cov:
            columns = tensors[REGISTRY_KEYS.CAT_COVS_KEY].long().unbind(-1)
            parts += [one_hot(c, n).float() for c, n in zip(columns, self.n_cats_per_cov, strict=True)]
        if self.n_continuous_cov:
            parts.append(tensors[REGISTRY_KEYS.CONT_COVS_KEY].float())
        return torch.cat(parts, dim=-1) if parts else None

    def _get_inference_input(self, tensors: dict[str, Tensor], **kwargs) -> dict:
        return {
            "x": {m: tensors[data_key(m)] for m in self.modalities},
            "mask": {m: tensors[mask_key(m)] for m in self.modalities},
            "size_factor": {m: self._size_factor(m, tensors) for m in self.modalities},
            "covariates": self.covariates(tensors),
        }

    @staticmethod
    def _size_factor(modality: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Given size factors, 1 where the cell lacks the modality (whatever is stored there)."""
        given = tensors.get(size_factor_key(modality))
        return None if given is None else torch.where(tensors[mask_key(modality)] > 0, given, 1.0)

    def inference(
        self,
        x: dict[str, Tensor],
        mask: dict[str, Tensor],
        size_factor: dict[str, Tensor | None],
        covariates: Tensor | None = None,
        n_samples: int = 1,
    ) -> dict:
        """Encode every modality once, join the experts, draw once from each; the tensors are on the module's device.

        Returns
        -------
        ``q_unimodal`` and ``q_private`` (by modality): the encoders' Gaussians; ``q_shared`` and ``z_shared`` (by
        expert): posterior and draw of the shared latent, ``(n, n_shared)``; ``z_private`` (by expert, then modality):
        draws of the private latents, ``(n, n_private)``; ``size`` (by modality): relative depth, ``(n, 1)``.
        """
        size = {m: self.likelihood(m).size(x[m], size_factor[m]) for m in self.modalities}
        q_unimodal, q_private = self.encode(x, size, covariates)
        q_shared, z_shared, z_private = {}, {}, {}
        for expert in self.objective.experts:
            q_shared[expert] = self.fuse(q_unimodal, mask, expert.modalities)
            z_shared[expert] = q_shared[expert].rsample()
            z_private[expert] = {m: q_private[m].rsample() for m in expert.modalities}
        return {
            "q_unimodal": q_unimodal,
            "q_private": q_private,
            "q_shared": q_shared,
            "z_shared": z_shared,
            "z_private": z_private,
            "size": size,
            "mask": mask,
            "covariates": covariates,
        }

    def encode(
        self, x: Mapping[str, Tensor], size: Mapping[str, Tensor], covariates: Tensor | None
    ) -> tuple[dict[str, Normal], dict[str, Normal]]:
        """Gaussians of the shared and of the private latent, by modality."""
        c = covariates if self.encode_covariates else None
        q_unimodal, q_private = {}, {}
        for m in self.modalities:
            q_unimodal[m], q_private[m] = self.encoders[m](self.likelihood(m).encoder_input(x[m], size[m]), c)
        return q_unimodal, q_private

    def fuse(self, q_unimodal: Mapping[str, Normal], mask: Mapping[str, Tensor], modalities: Sequence[str]) -> Normal:
        """Posterior of the shared latent from some modalities: their product with the prior, or the one there is."""
        if self.objective.fusion == "mixture" and len(modalities) == 1:
            return q_unimodal[modalities[0]]
        return product_of_experts(
            torch.stack([q_unimodal[m].loc for m in modalities]),
            torch.stack([q_unimodal[m].scale for m in modalities]),
            torch.stack([mask[m] for m in modalities]),
        )

    @property
    def shares_out(self) -> bool:
        """Whether all likelihoods share their work out among threads themselves."""
        return all(self.likelihood(m).shares_out for m in self.modalities)

    # ----------------------------------------------------------------------------------------------- generation
    def _get_generative_input(self, tensors, inference_outputs, **kwargs) -> dict:
        return {key: inference_outputs[key] for key in ("z_shared", "z_private", "covariates")}

    def generative(
        self,
        z_shared: dict[Expert, Tensor],
        z_private: dict[Expert, dict[str, Tensor]],
        covariates: Tensor | None = None,
    ) -> dict:
        """Run the decoders up to their last layer, all terms of a target at once.

        Returns
        -------
        ``hidden`` (by target): what the last layer reads, of shape ``(n_terms, n, n_hidden)``, in the order of
        ``objective.terms_for(target)``. The last layer belongs to the likelihood (:meth:`Likelihood.score
        <vennvi.likelihoods.Likelihood.score>`), which need not hold all outputs at once.
        """
        hidden = {}
        for target in self.modalities:
            terms = self.objective.terms_for(target)
            latents = torch.stack([self._term_latents(term, z_shared, z_private) for term in terms])
            hidden[target] = self.decoder(target).activations(with_covariates(latents, covariates))
        return {"hidden": hidden}

    def _term_latents(self, term: Term, z_shared: dict, z_private: dict) -> Tensor:
        s = z_shared[term.expert]
        p = z_private[term.expert].get(term.target)
        if p is None:
            p = self.absent_private(term.target, s, term.cross_private)
        return torch.cat([s.detach() if term.detach_shared else s, p], dim=-1)

    def absent_private(self, target: str, like: Tensor, how: CrossPrivate) -> Tensor:
        """Private latent of a target that was not seen, ``(..., n, n_private)``: zeros, or a draw from the prior."""
        shape = (*like.shape[:-1], self.n_private[target])
        return torch.randn(shape, device=like.device) if how == "prior" else torch.zeros(shape, device=like.device)

    def decode(self, target: str, latents: Tensor, covariates: Tensor | None, columns: Columns = slice(None)) -> Tensor:
        """Decoder outputs ``(..., n, n_outputs * n_features)`` for latents ``(..., n, n_shared + n_private)``.

        With ``columns``, those that decide about these features (:meth:`Likelihood.decoded
        <vennvi.likelihoods.Likelihood.decoded>`).
        """
        return self.decoder(target)(with_covariates(latents, covariates), self.likelihood(target).decoded(columns))

    # ----------------------------------------------------------------------------------------------------- loss
    def presence(self, mask: Mapping[str, Tensor], expert: Expert) -> Tensor:
        """1 where a cell has the expert, shape ``(n,)``."""
        stacked = torch.stack([mask[m].squeeze(-1) for m in expert.modalities])
        return stacked.amax(0) if expert.partial else stacked.amin(0)

    def loss(
        self,
        tensors: dict[str, Tensor],
        inference_outputs: dict,
        generative_outputs: dict,
        kl_weight: float | Tensor = 1.0,
        across_ranks: bool = False,
    ) -> LossOutput:
        """Loss of a minibatch, as :mod:`vennvi.objectives` defines it, with one curve for each term and space.

        With ``across_ranks``, this process has a part of the minibatch, and the mean of the losses of all processes, and
        of their gradients, is that of the whole (:mod:`vennvi.distributed`); the curves are those of the part. Gradients
        flow through ``loss`` alone, not through the curves.
        """
        mask = {m: v.squeeze(-1) for m, v in inference_outputs["mask"].items()}
        has = {e: self.presence(inference_outputs["mask"], e) for e in self.objective.experts}
        n_has = self._count(has, across_ranks)
        curves: dict[str, Tensor] = {}

        reconstruction: dict[str, Tensor] = {}
        total = torch.zeros((), device=next(iter(mask.values())).device)
        for m in self.modalities:
            terms = self.objective.terms_for(m)
            counted = torch.stack([has[term.expert] for term in terms]) * mask[m]
            per_expert = torch.stack([n_has[term.expert] for term in terms]).unsqueeze(-1)
            score, log_prob = self._score(
                m,
                tensors,
                inference_outputs["size"][m],
                generative_outputs["hidden"][m],
                -self.modality_weights[m] * counted / per_expert,
            )
            total = total + score
            rows = torch.where(counted > 0, -self.modality_weights[m] * log_prob, 0.0)
            names = [reconstruction_name(term.expert.modalities, m) for term in terms]
            reconstruction |= zip(names, rows.unbind(), strict=True)
            curves |= _mean_curves(names, rows, counted)

        # what the KL terms count, space by space: each cell once for every expert of a shared latent, or of a private one
        q_shared, q_private = inference_outputs["q_shared"], inference_outputs["q_private"]
        share = {e: has[e] / n_has[e] for e in q_shared}
        holders = {m: [e for e in q_shared if m in e.modalities] for m in q_private}
        of_private = {m: self.private_kl_weight * mask[m] for m in q_private}
        kl_total, kl_rows = weighted_kl(
            [*q_shared.values(), *q_private.values()],
            torch.stack([*share.values(), *(of_private[m] * sum(share[e] for e in holders[m]) for m in q_private)]),
        )
        names = [*(f"kl_shared_{expert_name(e.modalities)}" for e in q_shared), *(f"kl_private_{m}" for m in q_private)]
        present = torch.stack([*(has[e] for e in q_shared), *(mask[m] for m in q_private)])
        kl_rows = kl_rows * present
        curves |= _mean_curves(names, kl_rows, present)
        kl = dict(zip(names, kl_rows.unbind(), strict=True))
        for m in q_private:
            kl[f"kl_private_{m}"] = kl[f"kl_private_{m}"] * of_private[m] * sum(has[e] for e in holders[m])

        loss = total + kl_weight * kl_total
        if self.classifier is not None:
            classification, curves["classification"], curves["accuracy"], seen = self._classification(
                tensors, inference_outputs["z_shared"], has, n_has
            )
            curves |= {f"{CELLS_BEHIND}classification": seen, f"{CELLS_BEHIND}accuracy": seen}
            loss = loss + self.classification_weight * classification
        if self.alignment_weight:
            alignment = self._alignment(inference_outputs["z_shared"], mask, across_ranks)
            curves["alignment"] = alignment.detach()
            loss = loss + self.alignment_weight * alignment
        return LossOutput(loss=loss, reconstruction_loss=reconstruction, kl_local=kl, extra_metrics=curves)

    def _score(
        self, modality: str, tensors: Mapping[str, Tensor], size: Tensor, hidden: Tensor, row_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weighted log-likelihood of a target and the log-probability of each term and cell, ``(n_terms, n)``.

        Only cells that count for some term are decoded; in training, of a modality in ``feature_fraction`` only a
        random choice of features, whose sum is scaled to stand for all.
        """
        likelihood, layer = self.likelihood(modality), self.decoder(modality).output
        x = tensors[data_key(modality)]
        runs, scale = self._choose_features(x.shape[1], self.feature_fraction.get(modality, 1.0))
        target = likelihood.target(x, size, runs)
        (cells,) = torch.nonzero((row_weight != 0).any(0), as_tuple=True)
        if len(cells) == row_weight.shape[1]:
            score, log_prob = likelihood.score(hidden, layer, target, row_weight * scale, runs)
            return score, log_prob * scale
        score, counted = likelihood.score(
            hidden[:, cells], layer, target.rows(cells), row_weight[:, cells] * scale, runs
        )
        return score, counted.new_zeros(row_weight.shape).index_copy_(1, cells, counted * scale)

    def _choose_features(self, n_features: int, fraction: float) -> tuple[Runs | None, float]:
        """Features to decode (``None``: all), and what their sum is multiplied by."""
        if not self.training or fraction >= 1:
            return None, 1.0
        n_chosen = max(round(fraction * n_features), 1)
        return random_runs(n_features, n_chosen), n_features / n_chosen

    @staticmethod
    def _count(has: Mapping[Expert, Tensor], across_ranks: bool) -> dict[Expert, Tensor]:
        """Cells that have each expert, 1 if there are none; ``across_ranks`` those of all, over the number of ranks."""
        counts = torch.stack([h.sum() for h in has.values()])
        counts = cells_per_rank(counts) if across_ranks else counts.clamp_min(1)
        return dict(zip(has, counts.unbind(), strict=True))

    def _alignment(self, z_shared: Mapping[Expert, Tensor], mask: Mapping[str, Tensor], across_ranks: bool) -> Tensor:
        """InfoNCE summed over every two modalities; ``across_ranks`` between the cells of all processes."""
        alone = {expert.modalities[0]: z for expert, z in z_shared.items() if len(expert.modalities) == 1}
        if across_ranks:
            rows = gather_rows(torch.cat([*alone.values(), *(mask[m].unsqueeze(-1) for m in alone)], dim=-1))
            latents, present = rows.split([self.n_shared * len(alone), len(alone)], dim=-1)
            mask = dict(zip(alone, present.unbind(-1), strict=True))
            alone = dict(zip(alone, latents.split(self.n_shared, dim=-1), strict=True))
        pairs = combinations(self.modalities, 2)
        terms = [info_nce(alone[a], alone[b], mask[a] * mask[b], self.alignment_scale) for a, b in pairs]
        return torch.stack(terms).sum() if terms else torch.zeros((), device=next(iter(mask.values())).device)

    def _classification(self, tensors, z_shared, has, n_has) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cross-entropy summed over experts (as in the loss); its mean, the accuracy, and the labelled cells seen."""
        y = tensors[REGISTRY_KEYS.LABELS_KEY].squeeze(-1).long()
        labelled = (y < self.n_labels).float()
        known = y.clamp_max(self.n_labels - 1)
        total, entropies, right, seen = torch.zeros((4,), device=y.device).unbind()
        for expert, s in z_shared.items():
            logits = self.classifier(s)  # type: ignore[misc]
            counted = has[expert] * labelled
            entropy = (cross_entropy(logits, known, reduction="none") * counted).sum()
            total = total + entropy / n_has[expert]
            entropies = entropies + entropy.detach()
            right = right + ((logits.argmax(-1) == known) * counted).sum()
            seen = seen + counted.sum()
        return total, entropies / seen.clamp_min(1), right / seen.clamp_min(1), seen


def _mean_curves(names: Sequence[str], rows: Tensor, counted: Tensor) -> dict[str, Tensor]:
    """Mean of each row of ``(n_curves, n)`` over the cells that count, and their number."""
    n_counted = counted.sum(-1)
    means = (rows.sum(-1) / n_counted.clamp_min(1)).unbind()
    behind = [CELLS_BEHIND + name for name in names]
    return dict(zip(names, means, strict=True)) | dict(zip(behind, n_counted.unbind(), strict=True))


def with_covariates(latents: Tensor, covariates: Tensor | None) -> Tensor:
    """Latents ``(..., n, d)`` and covariates ``(n, c)`` side by side."""
    if covariates is None:
        return latents
    return torch.cat([latents, covariates.expand(*latents.shape[:-1], -1)], dim=-1)
