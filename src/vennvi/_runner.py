"""What surrounds a training: where it runs, what happens before its first step, when it stops."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from inspect import signature
from typing import Any

import numpy as np
from lightning.pytorch.strategies import Strategy
from scvi.data import AnnDataManager
from scvi.model._utils import use_distributed_sampler
from scvi.train import Trainer, TrainRunner
from scvi.train._callbacks import LoudEarlyStopping
from scvi.train._config import merge_kwargs
from scvi.train._logger import SimpleLogger

from vennvi._keys import data_key
from vennvi.data._splitter import DataSplitter
from vennvi.fused import fastest_multiply, multiplied_by, others_at_hand

#: Features of a dense minibatch whose logarithms and missing entries are work for all threads.
_WIDE = 10_000
_DEFAULTS = {name: parameter.default for name, parameter in signature(Trainer.__init__).parameters.items()}
#: What a model knows of its split.
_SPLIT = ("train_indices", "validation_indices", "test_indices", "split_names_", "_split_index")
_EARLY_STOPPING = ("monitor", "min_delta", "patience", "mode", "warmup_epochs")


class SharedPrivateTrainer(Trainer):
    """scvi-tools' trainer, which also stops early when several processes train: they agree on when."""

    def __init__(self, *args, early_stopping: bool = False, **kwargs):
        if not use_distributed_sampler(kwargs.get("strategy")):
            super().__init__(*args, early_stopping=early_stopping, **kwargs)
            return
        if early_stopping:
            options = {key: f"early_stopping_{key}" for key in _EARLY_STOPPING}
            stop = LoudEarlyStopping(**{key: kwargs.pop(name, _DEFAULTS[name]) for key, name in options.items()})
            kwargs["callbacks"] = [*(kwargs.get("callbacks") or ()), stop]
            kwargs["check_val_every_n_epoch"] = kwargs.get("check_val_every_n_epoch") or 1
        if kwargs.get("logger") is None and not kwargs.get("log_save_dir") and not _forks(kwargs["strategy"]):
            kwargs["logger"] = SimpleLogger()  # what scvi-tools would write to disk is in memory here
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="early_stopping was automatically disabled")
            super().__init__(*args, **kwargs)


class SharedPrivateTrainRunner(TrainRunner):
    """scvi-tools' runner, which first lets the model read its canonical variates off the training cells.

    Of several processes only the first does: DDP starts all from its parameters. Data that fit on the GPU that trains
    are kept there meanwhile, unless workers load the minibatches.
    """

    _trainer_cls = SharedPrivateTrainer

    def __init__(self, *args, data_splitter, trainer_config=None, **kwargs):
        if not data_splitter.n_train:
            raise ValueError(
                "No cell is left to train on: raise `train_size`, or lower `validation_size`, or give more cells."
            )
        _check_early_stopping(data_splitter.n_val, merge_kwargs(trainer_config, kwargs, name="trainer"))
        if not data_splitter.n_val:
            kwargs["limit_val_batches"] = 0  # else Lightning, told to validate every epoch, asks for a loader
        super().__init__(*args, data_splitter=data_splitter, trainer_config=trainer_config, **kwargs)

    def __call__(self) -> None:
        """Run the training."""
        if self.model.module.n_canonical and not self.model.is_trained and self.trainer.is_global_zero:
            self.model._start_canonical(self.data_splitter.train_idx)
        keeps = isinstance(self.data_splitter, DataSplitter) and not self.data_splitter.has_workers
        manager = self.data_splitter.adata_manager if keeps else None
        with ExitStack() as meanwhile:
            if self._shares_out(manager):
                meanwhile.enter_context(others_at_hand())
                meanwhile.enter_context(multiplied_by(fastest_multiply()))
            if manager is not None:
                meanwhile.enter_context(manager.kept_on(self.trainer.strategy.root_device))
            before = {name: getattr(self.model, name) for name in _SPLIT}
            if self.trainer.is_global_zero:
                self._tell_split()
            self.model.module.train()  # reading latents left it in evaluation mode, and Lightning leaves modes alone
            try:
                super().__call__()
            except BaseException:
                if not self.trainer.global_step:  # the parameters are those of the training before
                    for name, value in before.items():
                        setattr(self.model, name, value)
                raise

    def _tell_split(self) -> None:
        """Give the model the split before it is trained: scvi-tools does after, and a checkpoint would know none."""
        splitter, model = self.data_splitter, self.model
        model.train_indices, model.validation_indices = splitter.train_idx, splitter.val_idx
        model.test_indices = splitter.test_idx
        model._name_split(model.adata if isinstance(splitter, DataSplitter) else splitter)

    def _shares_out(self, manager: AnnDataManager | None) -> bool:
        """Whether all that takes long is shared out: not if there are several processes, or wide dense data to prepare."""
        module = self.model.module
        if self.trainer.strategy.root_device.type != "cpu" or self.trainer.num_devices > 1 or not module.shares_out:
            return False
        matrices = () if manager is None else (manager.get_from_registry(data_key(m)) for m in module.modalities)
        return not any(isinstance(x, np.ndarray) and x.shape[1] > _WIDE for x in matrices)


def with_strategy(devices: int | list[int] | str, trainer_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the trainer with DDP as the strategy, if there are several processes and no other strategy.

    Left to itself, Lightning would choose it too, but scvi-tools would not know, and give every process all cells.

    Raises
    ------
    ValueError
        For strategies that spawn processes.
    """
    if isinstance(strategy := trainer_kwargs.get("strategy", "auto"), str) and "spawn" in strategy:
        raise ValueError(
            f"`strategy` is {strategy!r}, but what scvi-tools registers of the data cannot be sent to spawned processes: use "
            "'ddp' in a script, 'ddp_notebook' in a notebook."
        )
    one_device = devices in (1, "1", "auto") or (isinstance(devices, list) and len(devices) == 1)
    if strategy != "auto" or (one_device and trainer_kwargs.get("num_nodes", 1) == 1):
        return trainer_kwargs
    return trainer_kwargs | {"strategy": "ddp_notebook" if hasattr(sys, "ps1") else "ddp"}


def _check_early_stopping(n_val: int, given: Mapping[str, Any]) -> None:
    """Refuse to watch a curve of validation cells where there are none."""
    monitor = given.get("early_stopping_monitor", _DEFAULTS["early_stopping_monitor"])
    if given.get("early_stopping") and "valid" in monitor and not n_val:
        raise ValueError(
            f"`early_stopping` watches {monitor!r}, but no cell is held out to validate on: lower `train_size` (0.9 by "
            "default), give `validation_size` cells, or train without `early_stopping`."
        )


def _forks(strategy: str | Strategy) -> bool:
    """Whether the first process is a copy of this one, whose memory this one does not see."""
    if isinstance(strategy, str):
        return "fork" in strategy or "notebook" in strategy
    return getattr(strategy, "_start_method", "popen") != "popen"
