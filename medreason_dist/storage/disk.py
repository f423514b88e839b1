"""Files below a folder of this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pyarrow.fs import LocalFileSystem

from medreason_dist.errors import StorageError


class Disk:
    """The files below a path. Its methods are those of :class:`medreason_dist.storage.Folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def child(self, name: str) -> Disk:
        return Disk(self.path / name)

    def arrow_filesystem(self) -> tuple[LocalFileSystem, str]:
        return LocalFileSystem(), str(self.path.absolute())

    def read(self, name: str) -> bytes:
        with self._errors(name):
            return (self.path / name).read_bytes()

    def copy_into(self, name: str, file: IO[bytes]) -> None:
        with self._errors(name), (self.path / name).open("rb") as source:
            shutil.copyfileobj(source, file)

    def write(self, name: str, content: bytes) -> None:
        with self._errors(name), self._temporary(name, content) as temporary:
            temporary.replace(self.path / name)

    def create(self, name: str, content: bytes) -> bool:
        with self._errors(name), self._temporary(name, content) as temporary:
            try:
                os.link(temporary, self.path / name)
            except FileExistsError:
                # NFS repeats a link whose answer was lost, and the repetition finds the first one's file.
                return temporary.stat().st_nlink > 1
            return True

    def exists(self, name: str) -> bool:
        with self._errors(name):
            return (self.path / name).is_file()

    def names(self) -> Iterator[str]:
        with self._errors(""):
            for path in self.path.rglob("*"):
                name = path.relative_to(self.path)
                if path.is_file() and not any(part.startswith(".") for part in name.parts):
                    yield name.as_posix()

    def delete(self, name: str) -> None:
        with self._errors(name):
            (self.path / name).unlink(missing_ok=True)

    def delete_all(self, names: Iterable[str]) -> None:
        for name in names:
            self.delete(name)

    @contextlib.contextmanager
    def _temporary(self, name: str, content: bytes) -> Iterator[Path]:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(dir=target.parent, prefix=".")
        temporary = Path(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise disk_error(error, str(self.path / name)) from error


def disk_error(error: OSError, where: str) -> StorageError:
    """Returns what to raise for a disk's error."""
    what = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"the disk is full: {what}", where, "free space, then run the same command again")
    return StorageError(f"the storage failed: {what}", where, "check path and rights, and the disk itself")
