"""The loss against a naive reading of the equations: explicit loops over experts and targets, torch's distributions."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from toy import toy_mudata

import vennvi
from vennvi._keys import data_key, mask_key, reconstruction_name
from vennvi.objectives import mopoe

MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus]


def build(cls, n_modalities=3, absent=False, labels=None, **kwargs):
    mdata = toy_mudata(n_modalities, absent=absent, missing_entries=True)
    setup = (
        {"labels_key": labels} if labels != "partial_label" else {"labels_key": labels, "unlabeled_category": "unknown"}
    )
    cls.setup_mudata(mdata, batch_key="batch", **(setup if labels else {}))
    model = cls(mdata, n_shared=3, n_private={m: 2 + k for k, m in enumerate(mdata.mod)}, n_hidden=8, **kwargs)
    model.is_trained = True
    tensors = next(iter(model._make_data_loader(adata=mdata, batch_size=16)))
    return model, tensors


def forward(model, tensors, kl_weight=0.3):
    module = model.module.eval()
    inference = module.inference(**module._get_inference_input(tensors))
    generative = module.generative(**module._get_generative_input(tensors, inference))
    return inference, generative, module.loss(tensors, inference, generative, kl_weight=kl_weight)


def present(tensors, modality):
    return tensors[mask_key(modality)][:, 0] > 0


def naive_experts(model):
    """Experts as (modalities, needs all of them), written from the papers, not from the table."""
    names = model.modalities
    if isinstance(model, vennvi.MVAE):
        return [(names, False)] + [((m,), True) for m in names]
    if isinstance(model, vennvi.MoPoEVAE):
        return [(s, True) for size in range(1, len(names) + 1) for s in combinations(names, size)]
    return [((m,), True) for m in names]


def naive_log_prob(model, modality, outputs, x, size):
    """Log-probability of the observed features of one cell."""
    likelihood = model.module.likelihood(modality)
    name = type(likelihood).__name__
    seen = ~torch.isnan(x)
    x, outputs = x[seen], outputs[seen]
    if name == "NormalLikelihood":
        sd = torch.nn.functional.softplus(likelihood.raw_noise_sd) + 0.01
        terms = Normal(outputs, sd[seen]).log_prob((x - likelihood.mean[seen]) / likelihood.sd[seen])
    elif name == "BernoulliLikelihood":
        terms = torch.distributions.Bernoulli(logits=outputs + size.log()).log_prob(x)
    else:
        mean = size * likelihood.total * outputs.softmax(-1)
        theta = likelihood.log_theta.exp()
        terms = torch.distributions.NegativeBinomial(theta, logits=mean.log() - theta.log()).log_prob(x)
    return sum(terms)


def naive_loss(model, tensors, inference, kl_weight):
    """Märtens & Yau's objective, one cell, one expert, one target at a time, on the same weights and noise."""
    module, names = model.module, model.modalities
    fused = isinstance(model, vennvi.MVAE | vennvi.MoPoEVAE)
    batch = torch.nn.functional.one_hot(tensors["batch"][:, 0].long(), 3).float()
    size = inference["size"]
    dense = {m: x.to_dense() if x.layout == torch.sparse_csr else x for m in names for x in [tensors[data_key(m)]]}
    beliefs = {m: (inference["q_unimodal"][m], inference["q_private"][m]) for m in names}
    draws = {e.modalities: (inference["z_shared"][e], inference["z_private"][e]) for e in module.objective.experts}
    posteriors = {e.modalities: inference["q_shared"][e] for e in module.objective.experts}
    assert set(draws) == {modalities for modalities, _ in naive_experts(model)}
    loss = torch.zeros(())
    for modalities, needs_all in naive_experts(model):
        expert_loss, n_cells = torch.zeros(()), 0
        z_s, z_p = draws[modalities]
        for i in range(len(batch)):
            here = [m for m in modalities if present(tensors, m)[i]]
            if not here or (needs_all and len(here) < len(modalities)):
                continue
            n_cells += 1
            if fused:  # the precision of a product is the sum of precisions, the prior's included
                precision = 1 + sum(beliefs[m][0].scale[i] ** -2 for m in here)
                loc = sum(beliefs[m][0].scale[i] ** -2 * beliefs[m][0].loc[i] for m in here) / precision
                scale = precision**-0.5
            else:
                loc, scale = beliefs[here[0]][0].loc[i], beliefs[here[0]][0].scale[i]
            drawn = posteriors[modalities]  # the module's noise, put through the naive posterior
            noise = ((z_s[i] - drawn.loc[i]) / drawn.scale[i]).detach()
            s = loc + scale * noise
            expert_loss = expert_loss + kl_weight * kl_divergence(Normal(loc, scale), Normal(0.0, 1.0)).sum()
            for m in here:
                expert_loss = (
                    expert_loss
                    + kl_weight
                    * kl_divergence(Normal(beliefs[m][1].loc[i], beliefs[m][1].scale[i]), Normal(0.0, 1.0)).sum()
                )
            targets = modalities if isinstance(model, vennvi.MVAE) else names
            for target in targets:
                if not present(tensors, target)[i]:
                    continue
                p = z_p[target][i] if target in modalities else torch.zeros(module.n_private[target])
                if isinstance(model, vennvi.MMVAEPlusPlus) and target in modalities:
                    code = torch.cat([s.detach(), p, batch[i]])
                else:
                    code = torch.cat([s, p, batch[i]])
                x = dense[target][i]
                outputs = module.decoders[target](code)
                expert_loss = expert_loss - naive_log_prob(model, target, outputs, x, size[target][i])
            if module.classifier is not None:
                y = int(tensors["labels"][i, 0])
                if y < module.n_labels:
                    expert_loss = expert_loss - 100 * module.classifier(s).log_softmax(-1)[y]
        loss = loss + expert_loss / max(n_cells, 1)
    return loss


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("n_modalities", [2, 3])
@pytest.mark.parametrize("absent", [pytest.param(False, id="paired"), pytest.param(True, id="absent cells")])
@pytest.mark.parametrize("labels", [None, "label", "partial_label"])
def test_loss_is_the_papers(cls, n_modalities, absent, labels):
    model, tensors = build(cls, n_modalities, absent, labels)
    inference, _, output = forward(model, tensors)
    expected = naive_loss(model, tensors, inference, kl_weight=0.3)
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=0.0)
    parameters = [p for p in model.module.parameters() if p.requires_grad]
    ours = torch.autograd.grad(output.loss, parameters, retain_graph=True, allow_unused=True)
    naive = torch.autograd.grad(expected, parameters, allow_unused=True)
    for a, b in zip(ours, naive, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max() + 1e-6))


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("n_modalities", [2, 3])
@pytest.mark.parametrize("labels", [None, "label"])
def test_elbo_of_a_cell_is_minus_the_papers_loss_of_it_alone(cls, n_modalities, labels):
    """Labels take no part in it."""
    model, _ = build(cls, n_modalities, absent=True, labels=labels)
    for cell in range(6):
        tensors = next(iter(model._make_data_loader(adata=model.adata, indices=[cell], batch_size=1)))
        if model.module.classifier is not None:
            tensors["labels"] = torch.full_like(tensors["labels"], model.module.n_labels)
        torch.manual_seed(cell)
        inference, _, _ = forward(model, tensors)
        expected = -naive_loss(model, tensors, inference, kl_weight=1.0).item()
        for mean in (True, False):
            torch.manual_seed(cell)
            assert model.get_elbo(dataloader=[tensors], return_mean=mean) == pytest.approx(expected, rel=1e-5)


def term_gradients(model, tensors, seed=0):
    """Gradient of every reconstruction term with respect to every parameter, zeros where there is none."""
    torch.manual_seed(seed)
    inference, generative, _ = forward(model, tensors)
    module, found = model.module, {}
    named = dict(module.named_parameters())
    for m in model.modalities:
        terms = module.objective.terms_for(m)
        for k, term in enumerate(terms):
            weight = torch.zeros(len(terms), len(tensors[mask_key(m)]))
            weight[k] = -module.presence(inference["mask"], term.expert) * tensors[mask_key(m)][:, 0]
            total, _ = module._score(m, tensors, inference["size"][m], generative["hidden"][m], weight)
            gradients = torch.autograd.grad(total, list(named.values()), retain_graph=True, allow_unused=True)
            found[reconstruction_name(term.expert.modalities, m)] = {
                name: torch.zeros_like(parameter) if gradient is None else gradient
                for (name, parameter), gradient in zip(named.items(), gradients, strict=True)
            }
    return found


@pytest.mark.parametrize("n_modalities", [2, 3])
def test_mmvae_plus_plus_cuts_the_self_terms_only(n_modalities):
    plain, tensors = build(vennvi.MMVAE, n_modalities)
    cut, _ = build(vennvi.MMVAEPlusPlus, n_modalities)
    cut.module.load_state_dict(plain.module.state_dict())
    reference, gradients = term_gradients(plain, tensors), term_gradients(cut, tensors)
    for expert in plain.modalities:
        for target in plain.modalities:
            term = f"reconstruction_{expert}_to_{target}"
            for name, gradient in gradients[term].items():
                if expert == target and name.startswith(f"encoders.{expert}.shared"):
                    assert not gradient.any(), f"{term} reaches {name}"
                    assert reference[term][name].any(), "the MMVAE's self term must reach it"
                elif expert != target or not name.startswith("encoders."):
                    torch.testing.assert_close(gradient, reference[term][name])
                elif name.startswith(f"encoders.{expert}.private"):
                    torch.testing.assert_close(gradient, reference[term][name])
                    assert gradient.any(), "a self term still teaches the private latent"


def test_mopoe_makes_every_subset_and_refuses_nine():
    assert len(mopoe("abcd").experts) == 15
    assert len(mopoe("abcdefgh").experts) == 255
    with pytest.raises(ValueError, match=r"511 .* limited to 8 modalities"):
        mopoe("abcdefghi")


@pytest.mark.parametrize("cls", [vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.MoPoEVAE])
def test_cross_private_from_the_prior_is_a_draw(cls):
    model, tensors = build(cls, 2, cross_private="prior")
    zeros, _ = build(cls, 2)
    zeros.module.load_state_dict(model.module.state_dict())
    cross, own = "reconstruction_rna_to_atac", "reconstruction_rna_to_rna"
    torch.manual_seed(0)
    drawn = forward(model, tensors)[2].reconstruction_loss
    torch.manual_seed(0)
    still = forward(zeros, tensors)[2].reconstruction_loss
    assert not torch.allclose(drawn[cross], still[cross])
    torch.testing.assert_close(drawn[own], still[own])


@pytest.mark.parametrize("cls", MODELS)
def test_modality_weights_scale_the_terms_of_their_target(cls):
    model, tensors = build(cls, 2)
    heavy, _ = build(cls, 2, modality_weights={"atac": 3.0})
    heavy.module.load_state_dict(model.module.state_dict())
    torch.manual_seed(0)
    one = forward(model, tensors)[2].reconstruction_loss
    torch.manual_seed(0)
    three = forward(heavy, tensors)[2].reconstruction_loss
    for term, value in one.items():
        torch.testing.assert_close(three[term], value * (3.0 if term.endswith("_to_atac") else 1.0))
