"""Training, validation and test cells."""

from __future__ import annotations

from scvi import dataloaders, settings

from vennvi.data._device import DeviceMuDataset


class DataSplitter(dataloaders.DataSplitter):  # scvi-tools asks for the class by this name
    """scvi-tools' splitter, split from the start; processes that train together all get the split of the first.

    Without a seed, each would otherwise draw its own, and validate on cells that another trains on.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        super().setup()

    def setup(self, stage: str | None = None) -> None:
        """Agree with the other processes, if there are any."""
        if self.trainer is not None and self.trainer.world_size > 1:
            parts = {name: getattr(self, name) for name in ("train_idx", "val_idx", "test_idx")}
            for name, cells in self.trainer.strategy.broadcast(parts).items():
                setattr(self, name, cells)

    @property
    def has_workers(self) -> bool:
        """Whether other processes may load minibatches: forked ones cannot read what is on a GPU."""
        return settings.dl_num_workers > 0 or self.data_loader_kwargs.get("num_workers", 0) > 0

    def train_dataloader(self) -> dataloaders.AnnDataLoader:
        """Minibatches of the training cells."""
        return _pinned_if_in_memory(super().train_dataloader())

    def val_dataloader(self) -> dataloaders.AnnDataLoader | None:
        """Minibatches of the validation cells, if there are any."""
        loader = super().val_dataloader()
        return None if loader is None else _pinned_if_in_memory(loader)


def _pinned_if_in_memory(loader: dataloaders.AnnDataLoader) -> dataloaders.AnnDataLoader:
    """Pin no minibatch that is on the device already: torch refuses to."""
    if isinstance(loader.dataset, DeviceMuDataset):
        loader.pin_memory = False
    return loader
