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
        """
        trainer = getattr(self, "trainer", None)
        if trainer is None or trainer.is_global_zero:
            super().save(dir_path, *args, **kwargs)  # type: ignore[misc]
