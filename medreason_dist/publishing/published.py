"""A published dataset as its readers open it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from medreason_dist.config import Method
from medreason_dist.errors import RunError
from medreason_dist.publishing.dataset import FORMATS
from medreason_dist.storage import MANIFEST, Folder

ANEW = "publish the run anew with jobs/publish_dataset.py"


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset whose manifest is there."""

    folder: Folder
    manifest: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """What identifies the run, the settings and the version behind the rows."""
        return str(self.manifest["fingerprint"])

    @property
    def splits(self) -> Mapping[str, int]:
        """The rows of each split."""
        splits: Mapping[str, int] = self.manifest["splits"]
        return splits

    @property
    def method(self) -> Method:
        """How its reasoning was written."""
        # A dataset of the first versions has no key for it: they knew one method.
        return Method(self.manifest.get("method", Method.medreason))

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks that its questions were compared with; none where it was published without."""
        return tuple((self.manifest["decontamination"] or {}).get("benchmarks", ()))

    def read_split(self, split: str, form: str = "data") -> pa.Table:
        """Returns a split's rows, as :data:`~medreason_dist.schemas.PUBLISHED` or (``form="chat"``) as CHAT.

        Rows of either form stand in the same order. Raises :class:`RunError` for a split that the dataset does not
        have, and for a file that is not the one of its manifest.
        """
        if split not in self.splits:
            what = f"the dataset has no split '{split}': it has {', '.join(self.splits)}"
            raise RunError(what, self.folder.uri, "name one of these")
        names = sorted(name for name in self.manifest["files"] if name.startswith(f"{form}/{split}-"))
        return pa.concat_tables([FORMATS[form].empty_table(), *(self._read(name, FORMATS[form]) for name in names)])

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        table, digest = self.folder.read_digested(name, schema)
        if digest != self.manifest["files"][name]:
            what = f"the file is not the one that was published: its SHA-256 is {digest}"
            raise RunError(what, f"{self.folder.uri}/{name}", ANEW)
        return table


def open_dataset(folder: Folder) -> PublishedDataset:
    """Returns the dataset in ``folder``; raises :class:`RunError` where there is none, or none that is finished."""
    try:
        manifest = folder.read_json(MANIFEST)
    except FileNotFoundError:
        what = "there is no published dataset: the folder has no manifest"
        raise RunError(what, folder.uri, "publish a run to it with jobs/publish_dataset.py") from None
    if not {"splits", "files", "decontamination"} <= set(manifest):
        raise RunError("the folder holds something other than a published dataset", folder.uri, ANEW)
    return PublishedDataset(folder, manifest)
