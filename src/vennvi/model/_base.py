"""What every vennvi model is: setup from a MuData, construction, saving."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass
from scvi.utils import setup_anndata_dsp

from vennvi._keys import data_key, size_factor_key
from vennvi.data._dataset import presence
from vennvi.data._manager import MuDataManager
from vennvi.data._statistics import read_statistics, statistics_of
from vennvi.data._summary import FeatureSummary
from vennvi.likelihoods import resolve_likelihood
from vennvi.model._diagnose import DiagnoseMixin
from vennvi.model._differential import DifferentialMixin
from vennvi.model._elbo import ElboMixin
from vennvi.model._expression import ExpressionMixin
from vennvi.model._feature_attributions import FeatureAttributionsMixin
from vennvi.model._feature_scores import FeatureScoresMixin
from vennvi.model._interval_scale import IntervalScaleMixin
from vennvi.model._labels import LabelsMixin
from vennvi.model._latents import LatentsMixin
from vennvi.model._posterior_sample import PosteriorSampleMixin
from vennvi.model._predict import PredictMixin
from vennvi.model._query import QueryMixin
from vennvi.model._report import ReportMixin
from vennvi.model._save import SaveMixin
from vennvi.model._setup_fields import setup_fields
from vennvi.model._shared_features import SharedFeaturesMixin
from vennvi.model._shared_signal import SharedSignalMixin
from vennvi.model._split_names import SplitNamesMixin
from vennvi.model._train import TrainMixin
from vennvi.model._validate import check_modalities, check_mudata, check_obs_keys, check_unlabeled, key_list
from vennvi.model._variance import VarianceMixin
from vennvi.module import SharedPrivateVAE
from vennvi.nn import Decoder
from vennvi.objectives import CrossPrivate, Objective

logger = logging.getLogger("scvi.vennvi")  # scvi-tools' handler and level


class SharedPrivateModel(
    QueryMixin,
    TrainMixin,
    LatentsMixin,
    PredictMixin,
    IntervalScaleMixin,
    PosteriorSampleMixin,
    ElboMixin,
    LabelsMixin,
    SharedSignalMixin,
    DiagnoseMixin,
    ExpressionMixin,
    DifferentialMixin,
    ReportMixin,
    VarianceMixin,
    SharedFeaturesMixin,
    FeatureScoresMixin,
    FeatureAttributionsMixin,
    SaveMixin,
    SplitNamesMixin,
    BaseModelClass,
):
    """Base of all models: one shared latent space and one private latent space a modality, learned from a MuData.

    A subclass is its table of terms.

    Parameters
    ----------
    adata
        MuData registered by :meth:`setup_mudata`.
    registry
        Registry of a MuData that is not at hand; then ``likelihoods`` must name one for every modality.
    n_shared
        Dimensions of the shared latent space.
    n_private
        Dimensions of each private latent space: one number for all modalities, or one by modality.
    n_hidden
        Width of the hidden layers.
    n_layers
        Number of hidden layers of each encoder and decoder.
    dropout_rate
        Dropout after each hidden layer.
    likelihoods
        Likelihood by modality: ``"normal"``, ``"bernoulli"``, ``"poisson"``, ``"nb"`` or ``"zinb"``. What is not named
        is read off the data: ``"bernoulli"`` for 0/1, ``"nb"`` for counts, ``"normal"`` otherwise.
    use_observed_lib_size
        Whether the cells of a modality differ in depth, by modality or for all: the row sum (or ``size_factor_key``) then enters
        the likelihood as an offset, and the encoder reads values normalised by it. By default true for counts and
        for sparse (or size-factored) 0/1 data, false for dense 0/1 data; it has no meaning for ``"normal"``.
    modality_weights
        Weight of each modality's log-probability in the loss, 1 by default.
    encode_covariates
        Whether the encoders read the covariates too; the decoders always do.
    classification_weight
        Weight of the labels' cross-entropy, if there are labels.
    cross_private
        What stands for the target's private latent when another modality predicts it: ``"zeros"`` (as in the paper)
        or a draw from the ``"prior"`` (as in MMVAE+, Palumbo et al. 2023).
    alignment_weight, alignment_scale
        Weight and distance of :func:`~vennvi.penalties.info_nce` between every two modalities' draws of the shared
        latent. Weight 0 in the paper's models.
    private_kl_weight
        Weight of the private latents' KL terms relative to the shared ones'. 1 in the paper's models.
    n_canonical
        Canonical variates of all modalities that the shared latents are read off, found on the training cells when
        training starts; 0, as in the paper's models, reads them off the modality itself.
    residual_private
        With ``n_canonical``: whether the private encoders read what the canonical variates leave of the data.

    Raises
    ------
    ValueError
        If the data contradict a likelihood, or an argument names a modality that was not set up.
    """

    _module_cls = SharedPrivateVAE
    #: From modality names to the table of terms: what a subclass defines.
    _objective: ClassVar[Callable[[Sequence[str], CrossPrivate], Objective]]

    def __init_subclass__(cls, **kwargs) -> None:
        """Append the parameters, which are the same for all models, to what a model says of itself."""
        super().__init_subclass__(**kwargs)
        shared = inspect.cleandoc(SharedPrivateModel.__doc__ or "")
        cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\n{shared[shared.index('Parameters') :]}"

    # The first parameter must be called `adata`: scvi-tools drops it from the saved arguments by that name.
    def __init__(
        self,
        adata: MuData | None = None,
        registry: dict | None = None,
        n_shared: int = 10,
        n_private: int | Mapping[str, int] = 10,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.0,
        likelihoods: Mapping[str, str] | None = None,
        use_observed_lib_size: bool | Mapping[str, bool] | None = None,
        modality_weights: Mapping[str, float] | None = None,
        encode_covariates: bool = False,
        classification_weight: float = 100.0,
        cross_private: CrossPrivate = "zeros",
        alignment_weight: float = 0.0,
        alignment_scale: float = 0.2,
        private_kl_weight: float = 1.0,
        n_canonical: int = 0,
        residual_private: bool = False,
    ):
        if registry is not None:  # that of data on disk is any model's
            registry = {**registry, "model_name": type(self).__name__}
        if adata is not None:
            check_mudata(adata)
            if self._get_most_recent_anndata_manager(adata) is None:
                name = type(self).__name__
                raise ValueError(f"This MuData is not set up: call `{name}.setup_mudata(mdata)` first.")
        super().__init__(adata, registry)
        if isinstance(use_observed_lib_size, bool | np.bool_):
            use_observed_lib_size = dict.fromkeys(self.modalities, use_observed_lib_size)
        for name, mapping in (
            ("n_private", n_private),
            ("likelihoods", likelihoods),
            ("use_observed_lib_size", use_observed_lib_size),
            ("modality_weights", modality_weights),
        ):
            if mapping is not None and not isinstance(mapping, Mapping) and name != "n_private":
                raise TypeError(f"`{name}` is {mapping!r}: give a mapping from the names of modalities.")
            self._check_modality_names(name, mapping)
        n_private = dict(n_private) if isinstance(n_private, Mapping) else dict.fromkeys(self.modalities, n_private)
        if missing := [m for m in self.modalities if m not in n_private]:
            raise ValueError(f"`n_private` names no size for {', '.join(map(repr, missing))}.")
        _check_sizes(
            {
                1: {"n_shared": n_shared, "n_hidden": n_hidden, "n_layers": n_layers},
                0: {"n_canonical": n_canonical, **{f"n_private[{m!r}]": size for m, size in n_private.items()}},
            }
        )
        _check_weights(
            {
                "alignment_weight": alignment_weight,
                "classification_weight": classification_weight,
                "private_kl_weight": private_kl_weight,
                **{f"modality_weights[{m!r}]": weight for m, weight in (modality_weights or {}).items()},
            }
        )
        if not 0 < alignment_scale < np.inf:
            raise ValueError(f"`alignment_scale` is {alignment_scale!r}: it must be a finite number above 0.")
        if cross_private not in ("zeros", "prior"):
            raise ValueError(f"`cross_private` is {cross_private!r}: choose 'zeros' or 'prior'.")
        objective = type(self)._objective
        objective(self.modalities, cross_private)  # refuses too many modalities before the data are read

        statistics = statistics_of(self.registry) if adata is None else read_statistics(self.adata_manager)
        summaries = {m: summary for m, (summary, _) in statistics.items()}
        likelihoods = self._resolve_likelihoods(dict(likelihoods or {}), summaries)
        use_observed_lib_size = self._resolve_use_size(dict(use_observed_lib_size or {}), likelihoods, summaries)

        categories = self.registry["field_registries"].get(REGISTRY_KEYS.CAT_COVS_KEY, {}).get("state_registry", {})
        self.module = self._module_cls(
            n_inputs={m: self.summary_stats[f"n_{data_key(m)}"] for m in self.modalities},
            likelihoods=likelihoods,
            objective=objective,
            n_shared=n_shared,
            n_private=n_private,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            use_size=use_observed_lib_size,
            modality_weights=modality_weights,
            n_batch=self.summary_stats.n_batch,
            n_cats_per_cov=tuple(categories.get("n_cats_per_key", ())),
            n_continuous_cov=self.summary_stats.get("n_extra_continuous_covs", 0),
            encode_covariates=encode_covariates,
            n_labels=len(self.label_categories),
            classification_weight=classification_weight,
            cross_private=cross_private,
            alignment_weight=alignment_weight,
            alignment_scale=alignment_scale,
            private_kl_weight=private_kl_weight,
            n_canonical=n_canonical,
            residual_private=residual_private,
        )
        for m, (summary, reference) in statistics.items():
            self._use_statistics(m, summary, reference)
        private = ", ".join(f"{m} {d}" for m, d in n_private.items())
        self._model_summary_string = (
            f"{type(self).__name__}: {n_shared} shared latent dimensions; private: {private}; "
            f"likelihoods: {', '.join(f'{m} {v}' for m, v in likelihoods.items())}"
        )
        self.init_params_ = self._get_init_params(locals())

    @property
    def modalities(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the modalities, in the order of ``layers`` in :meth:`setup_mudata`."""
        return tuple(self.registry["setup_args"]["layers"])

    def get_var_names(self, legacy_mudata_format: bool = False) -> dict[str, NDArray]:
        """Names of the variables, by modality, with or without data at hand."""
        if self.adata is not None:
            return super().get_var_names(legacy_mudata_format=legacy_mudata_format)
        return {m: self._var_names(m) for m in self.modalities}

    def _var_names(self, modality: str) -> NDArray:
        state = self.registry["field_registries"][data_key(modality)]["state_registry"]
        return np.asarray(state["column_names"])

    def _check_modality_names(self, argument: str, value: object) -> None:
        if isinstance(value, Mapping) and (unknown := set(value) - set(self.modalities)):
            raise ValueError(
                f"`{argument}` names {', '.join(map(repr, sorted(unknown)))}; the modalities of this model are "
                f"{', '.join(map(repr, self.modalities))}."
            )

    def _check_modality(self, argument: str, modality: str) -> None:
        if modality not in self.modalities:
            raise ValueError(
                f"`{argument}` is {modality!r}; the modalities of this model are {', '.join(map(repr, self.modalities))}."
            )

    # ------------------------------------------------------------------------------------- reading the data once
    def _resolve_likelihoods(self, chosen: dict[str, str], summaries: Mapping[str, FeatureSummary]) -> dict[str, str]:
        if not summaries and set(chosen) != set(self.modalities):
            missing = [m for m in self.modalities if m not in chosen]
            raise ValueError(
                f"Without data, `likelihoods` must name one for every modality; missing: {', '.join(missing)}."
            )
        resolved = {m: resolve_likelihood(chosen.get(m), s, m) for m, s in summaries.items()} or chosen
        for m, summary in summaries.items():
            logger.info(
                "%s: %s, likelihood %s%s", m, summary.describe(), resolved[m], "" if m in chosen else " (default)"
            )
        return resolved

    def _resolve_use_size(
        self, chosen: dict[str, bool], likelihoods: Mapping[str, str], summaries: Mapping[str, FeatureSummary]
    ) -> dict[str, bool]:
        def default(m: str) -> bool:
            if likelihoods[m] != "bernoulli":
                return True
            given = size_factor_key(m) in self.registry["field_registries"]
            return given or (m in summaries and summaries[m].is_sparse)

        return {m: chosen.get(m, default(m)) for m in self.modalities}

    def _use_statistics(self, modality: str, summary: FeatureSummary, reference: float) -> None:
        self.module.likelihood(modality).read(summary, reference)
        decoder: Decoder = self.module.decoders[modality]  # type: ignore[assignment]
        decoder.output.bias.data.copy_(self.module.likelihood(modality).initial_bias())

    # ------------------------------------------------------------------------------------------------- registering
    @classmethod
    def setup_anndata(cls, *args, **kwargs):
        """Refuse: a vennvi model needs a MuData.

        Raises
        ------
        TypeError
            Always; use :meth:`setup_mudata`.
        """
        raise TypeError(f"{cls.__name__} reads MuData: use `{cls.__name__}.setup_mudata`.")

    @classmethod
    def setup_annbatch(cls, *args, **kwargs):
        """Refuse: data on disk come from a collection of vennvi's.

        Raises
        ------
        TypeError
            Always; use :func:`vennvi.data.write_collection` and :class:`vennvi.data.AnnbatchMuDataModule`.
        """
        raise TypeError(
            f"{cls.__name__} reads a MuData from disk by `vennvi.data.write_collection` and "
            f"`{cls.__name__}(registry=vennvi.data.AnnbatchMuDataModule(path).registry)`."
        )

    @classmethod
    @setup_anndata_dsp.dedent
    def setup_mudata(
        cls,
        mdata: MuData,
        layers: Mapping[str, str | None] | Sequence[str] | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        unlabeled_category: str | None = None,
        size_factor_key: str | Mapping[str, str] | None = None,
        categorical_covariate_keys: Sequence[str] | None = None,
        continuous_covariate_keys: Sequence[str] | None = None,
        modalities: Mapping[str, str] | None = None,
        **kwargs,
    ) -> None:
        """%(summary_mdata)s.

        Cells may come in any order in each modality and be absent from some; entries of a dense matrix may be NaN.
        Nothing is checked out of the MuData's matrices here, and nothing of the user's is changed: scvi-tools adds
        ``_scvi_...`` columns to ``.obs`` and keys to ``.uns``.

        Parameters
        ----------
        %(param_mdata)s
        layers
            The modalities to use and the layer to read in each, ``None`` for ``.X``; a list of modalities reads ``.X``
            of each. By default ``.X`` of every modality.
        %(param_batch_key)s
        labels_key
            Column of labels that the shared latents must predict: makes the model supervised.
        unlabeled_category
            Label that means "not known"; such cells take no part in the classification.
        size_factor_key
            Column of size factors of the count modalities, one name for all or one by modality; looked up in the
            modality's own obs, then in the global one. By default the depth is the observed total count.
        %(param_cat_cov_keys)s
        %(param_cont_cov_keys)s
        modalities
            Where a column is not in ``mdata.obs``: the modality that has it, by argument, for example
            ``{"batch_key": "rna"}``.

        Raises
        ------
        TypeError
            If ``mdata`` is not a MuData.
        KeyError
            If a modality, a layer or a column is not where the arguments say.
        ValueError
            If the MuData is a view or out of date, or a column has missing values.
        """
        check_mudata(mdata)
        if layers is None or not isinstance(layers, Mapping):  # a list of modalities
            if isinstance(layers, str):
                raise TypeError(f"`layers` is the string {layers!r}: give a list of modalities, or layers by modality.")
            layers = dict.fromkeys(mdata.mod if layers is None else layers)
        layers = dict(layers)
        categorical_covariate_keys, continuous_covariate_keys = map(
            key_list, (categorical_covariate_keys, continuous_covariate_keys)
        )
        modalities = dict(modalities or {})
        check_modalities(mdata, layers)
        for argument, keys in (
            ("batch_key", batch_key),
            ("labels_key", labels_key),
            ("categorical_covariate_keys", categorical_covariate_keys),
            ("continuous_covariate_keys", continuous_covariate_keys),
        ):
            if argument != "labels_key" or "source_registry" not in kwargs:  # a trained model needs no labels
                check_obs_keys(mdata, argument, keys, modalities.get(argument))
        if unlabeled_category is not None and labels_key is None:
            raise ValueError("`unlabeled_category` needs `labels_key`.")
        if unlabeled_category is not None and labels_key is not None and "source_registry" not in kwargs:
            check_unlabeled(mdata, labels_key, modalities.get("labels_key"), unlabeled_category)
        nobody = ~np.any([presence(mdata, m, layer) for m, layer in layers.items()], axis=0)
        if nobody.any():
            logger.warning(
                "%d of %d cells have none of the modalities %s: they take no part in the training and their latents are NaN.",
                nobody.sum(), mdata.n_obs, ", ".join(layers),
            )  # fmt: skip

        setup_method_args = cls._get_setup_method_args(**locals())
        for local in ("nobody", "argument", "keys"):
            setup_method_args["setup_args"].pop(local, None)
        cls._create_modalities_attr_dict(modalities, setup_method_args)  # refuses unknown arguments
        manager = MuDataManager(setup_fields(mdata, setup_method_args["setup_args"]), setup_method_args)
        manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)


def _check_sizes(at_least: Mapping[int, Mapping[str, int]]) -> None:
    """Refuse what is no whole number, or a smaller one than it is listed under."""
    for smallest, sizes in at_least.items():
        for name, value in sizes.items():
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < smallest:
                raise ValueError(f"`{name}` is {value!r}: it must be a whole number, at least {smallest}.")


def _check_weights(weights: Mapping[str, float]) -> None:
    for name, value in weights.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"`{name}` is {value!r}: it must be a finite number, not negative.")
