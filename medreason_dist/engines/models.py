"""Where a model's files are: a folder of this machine, a hub name, or ``s3://``, of which each machine keeps a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from filelock import FileLock
from pyarrow.fs import FileSelector, copy_files

from medreason_dist.config import StorageConfig
from medreason_dist.errors import ModelError
from medreason_dist.ids import fingerprint
from medreason_dist.storage import Folder

COPIES: Final = Path("~/.cache/medreason_dist/models")
"""Holds one folder for each model that was fetched, under a digest of its files' names, sizes and times."""


def require_model(model: str, storage: StorageConfig | None = None, key: str = "engine.model") -> None:
    """Raises :class:`ModelError` for no model, a path that is no folder or ``s3://`` without a model. A hub name is looked
    up when it is loaded. ``key`` is the config's."""
    if not model:
        raise ModelError(f"{key} is not set", remedy=f"set {key}=FOLDER, a hub name or s3://…")
    remedy = f"set {key} to a model's folder, a hub name or s3://…"
    if model.startswith("s3://"):
        if not Folder(model, storage).exists("config.json"):
            raise ModelError("there is no model: the folder has no config.json", model, remedy)
        return
    is_path = model.startswith(("/", "./", "../", "~", ".")) or model.count("/") > 1
    if is_path and not Path(model).expanduser().is_dir():
        raise ModelError("the model's folder does not exist", model, remedy)


def fetch_model(model: str, storage: StorageConfig | None) -> str:
    """Returns the folder or hub name that a library can load: ``model``, or for ``s3://`` this machine's copy.

    The first process that asks copies it while others wait. Raises :class:`ModelError` where that fails.
    """
    if not model.startswith("s3://"):
        return str(Path(model).expanduser()) if model.startswith("~") else model
    filesystem, path = Folder(model, storage).arrow_filesystem()
    try:
        files = filesystem.get_file_info(FileSelector(path, recursive=True))
        copy = COPIES.expanduser() / fingerprint([[file.path, file.size, str(file.mtime)] for file in files])[:16]
        copy.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{copy}.lock"):
            if not copy.is_dir():
                partial = copy.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                copy_files(path, str(partial), source_filesystem=filesystem)
                partial.rename(copy)
    except OSError as error:
        raise ModelError(f"the model cannot be fetched: {error}", model, "check storage.* and the disk") from error
    return str(copy)
