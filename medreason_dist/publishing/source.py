"""The run that a dataset is made of: whether it may be published, and its traces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from medreason_dist.config import Method, PublishConfig
from medreason_dist.errors import RunError
from medreason_dist.ids import fingerprint
from medreason_dist.report.text import read_method
from medreason_dist.schemas import PUBLISHED, TRACES
from medreason_dist.storage import MANIFEST, Folder

PLAN: Final = "_plan.json"
GENERATE: Final = "run jobs/generate.py again with the same run.uri"
NEEDED: Final = [
    name
    for name in TRACES.names
    if name in {*PUBLISHED.names, "dataset", "grounding", "judge", "status", "reject_reason"}
]
"""The columns of traces that a dataset is made of."""


@dataclass(frozen=True)
class Source:
    """A run that may be published. ``record`` is its manifest or, of an unfinished one, its plan with its counts;
    ``files`` maps each file of traces to its SHA-256; ``planned`` is the number of shards that it is to have."""

    folder: Folder
    record: Mapping[str, Any]
    files: Mapping[str, str]
    planned: int
    finished: bool

    @cached_property
    def run(self) -> str:
        """What identifies the config and the graph behind the rows (16 hex digits)."""
        return fingerprint(self.record["fingerprints"])[:16]

    @property
    def method(self) -> Method:
        """How the reasoning was written."""
        return read_method(self.record)

    @property
    def decontamination(self) -> Mapping[str, Any]:
        """What the questions were compared with; empty where with nothing."""
        return self.record.get("decontamination") or {}

    def tables(self) -> Iterator[pa.Table]:
        """Yields the traces of each shard, with the columns :data:`NEEDED`.

        Raises :class:`RunError` for a file that is another one than that of ``files``, or lacks a column.
        """
        for name, digest in self.files.items():
            table, found = self.folder.read_digested(name)
            where = f"{self.folder.uri}/{name}"
            if found != digest:
                remedy = f"delete the file and {MANIFEST}, then {GENERATE}"
                raise RunError(f"the file is not the one that the run wrote: its SHA-256 is {found}", where, remedy)
            if lacking := [column for column in NEEDED if column not in table.column_names]:
                what = f"the file lacks the columns {', '.join(lacking)}"
                raise RunError(what, where, "it was written by another version: make the run anew")
            yield table.select(NEEDED)


def open_source(folder: Folder, config: PublishConfig) -> Source:
    """Returns the run in ``folder``.

    Raises :class:`RunError` for one that is no run, is unfinished or was compared with no benchmark (unless the config
    allows these), or whose files are not those of its manifest.
    """
    source = _open_finished(folder) or _open_unfinished(folder)
    if not source.finished and not config.allow_unfinished:
        what = (
            f"the run is not finished: it has no manifest, and traces of {len(source.files)} of {source.planned} shards"
        )
        remedy = f"{GENERATE}, or publish what there is with publish.allow_unfinished=true, which the card will say"
        raise RunError(what, folder.uri, remedy)
    if not source.decontamination and not config.allow_undecontaminated:
        what = "the run's questions were compared with no benchmark: some may stand in one that a model is scored on"
        remedy = (
            "name the benchmarks by questions.decontaminate.<benchmark>=FILE in a run of its own, or publish it with "
            "publish.allow_undecontaminated=true, which the card will say"
        )
        raise RunError(what, folder.uri, remedy)
    return source


def _open_finished(folder: Folder) -> Source | None:
    try:
        manifest = folder.read_json(MANIFEST)
    except FileNotFoundError:
        return None
    files = manifest.get("files")
    if files is None:
        what = f"{MANIFEST} has no digests of the run's files, which earlier versions did not write"
        raise RunError(what, folder.uri, f"delete it and {GENERATE}, which writes it anew")
    there = {f"traces/{name}" for name in folder.child("traces").names(".parquet")}
    if differing := sorted(there ^ set(files)):
        what = f"the run's files are not those of its manifest, such as {differing[0]}"
        raise RunError(what, folder.uri, f"delete {MANIFEST} and {GENERATE}")
    return Source(folder, manifest, files, manifest["shards"], finished=True)


def _open_unfinished(folder: Folder) -> Source:
    try:
        plan = folder.read_json(PLAN)
    except FileNotFoundError:
        raise RunError("there is no run", folder.uri, "set run.uri to one that jobs/generate.py made") from None
    names = [f"traces/{name}" for name in folder.child("traces").names(".parquet")]
    files = {name: hashlib.sha256(folder.read(name)).hexdigest() for name in names}
    return Source(folder, {**plan, **plan["counts"]}, files, len(plan["shards"]), finished=False)
