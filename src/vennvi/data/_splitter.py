"""Training, validation and test cells."""

from __future__ import annotations

from scvi import dataloaders


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
