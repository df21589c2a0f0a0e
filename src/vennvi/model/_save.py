"""Saving."""

from __future__ import annotations


class SaveMixin:
    """scvi-tools' ``save``, by one process."""

    def save(self, dir_path: str, *args, **kwargs) -> None:
        """Save the model, as :meth:`scvi.model.base.BaseModelClass.save`.

        Of several processes that trained the model together, only the first writes; the call does nothing in the others.

        Parameters
        ----------
        dir_path
            Directory to write.
        *args, **kwargs
            As in scvi-tools: ``prefix``, ``overwrite``, ``save_anndata``, ``save_kwargs``.

        Raises
        ------
        ValueError
            For ``save_anndata`` of a model that has no MuData of its own; nothing is written then.
        """
        if (kwargs.get("save_anndata") or any(args[2:3])) and self.adata is None:  # type: ignore[attr-defined]
            raise ValueError("This model has no MuData of its own to save: leave `save_anndata` out.")
        trainer = getattr(self, "trainer", None)
        if trainer is None or trainer.is_global_zero:
            super().save(dir_path, *args, **kwargs)  # type: ignore[misc]
