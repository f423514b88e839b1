"""The published folder: Parquet by split in two formats, the card, and a manifest last.

    data/<split>-<n>.parquet    rows of PUBLISHED: the default config of the datasets library
    chat/<split>-<n>.parquet    the same rows in the same order as CHAT: its config «chat»
    README.md                   the card, whose front matter says this to the datasets library
    _manifest.json              counts and the SHA-256 of every file

A folder is claimed by ``_publishing.json`` before anything else is written to it, so that a publication that was cut off
may be repeated, and no other folder is written over.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

import medreason_dist
from medreason_dist.config import Config, Method, PublishConfig, to_dict
from medreason_dist.errors import ReconcileError, RunError, StorageError
from medreason_dist.ids import fingerprint
from medreason_dist.publishing.card import Written, write_card
from medreason_dist.publishing.chat import chat_row
from medreason_dist.publishing.rows import choose_split, publish_row
from medreason_dist.publishing.source import Source, open_source
from medreason_dist.publishing.summary import accepted_rows, summarise
from medreason_dist.schemas import CHAT, PUBLISHED, schema_fingerprint
from medreason_dist.storage import MANIFEST, Folder

CLAIM: Final = "_publishing.json"
REMEDY: Final = "give another publish.uri, or delete the folder"
CARD: Final = "README.md"
FORMATS: Final[Mapping[str, pa.Schema]] = {"data": PUBLISHED, "chat": CHAT}
"""Folder and schema of each format."""
TITLES: Final[Mapping[Method, str]] = {
    Method.medreason: "Medical reasoning along PrimeKG",
    Method.plain_cot: "Medical reasoning by plain chain of thought",
}
"""What a dataset is called whose ``publish.name`` is null."""


def publish_dataset(config: Config) -> dict[str, Any]:
    """Publishes the run at ``run.uri`` to ``publish.uri`` and returns the dataset's manifest.

    The same dataset again changes nothing. Raises :class:`RunError` for a run that may not be published
    (:func:`open_source`) or has no accepted row, :class:`StorageError` for a folder that holds something else.
    """
    source = open_source(Folder(config.run.uri, config.storage), config.publish)
    target = Folder(config.publish.uri, config.storage)
    settings = replace(config.publish, name=config.publish.name or TITLES[source.method])
    identity = _identify(source, settings)
    if (there := _find_published(target, identity)) is not None:
        return there
    summary = summarise(source)
    if not summary.accepted:
        what = f"the run has no accepted row, of {summary.statuses.total()}"
        raise RunError(what, source.folder.uri, "see jobs/report.py for what they were rejected for")
    _claim(target, identity)
    written = _write_rows(target, source, settings)
    if (rows := sum(split.rows for split in written["data"].values())) != summary.accepted:
        raise ReconcileError(f"{target.uri}: {rows} rows were written of {summary.accepted} that were accepted")
    card = write_card(source, summary, written, settings).encode()
    target.write(CARD, card)
    files = {
        name: digest for splits in written.values() for split in splits.values() for name, digest in split.files.items()
    }
    manifest = {
        "fingerprint": identity,
        "method": source.method.value,
        "run": {"id": source.run, "finished": source.finished, "fingerprints": source.record["fingerprints"]},
        "rows": summary.accepted,
        "splits": {split: parts.rows for split, parts in written["data"].items()},
        "decontamination": dict(source.decontamination),
        "files": {**files, CARD: hashlib.sha256(card).hexdigest()},
        "schemas": {name: schema_fingerprint(schema) for name, schema in FORMATS.items()},
        "versions": {"medreason_dist": medreason_dist.__version__, "pyarrow": pa.__version__},
    }
    target.write_json(MANIFEST, manifest)
    target.delete(CLAIM)
    return manifest


def _identify(source: Source, config: PublishConfig) -> str:
    """Returns a digest of all that the dataset's files depend on."""
    settings = {key: value for key, value in to_dict(config).items() if key != "uri"}
    schemas = [schema_fingerprint(schema) for schema in FORMATS.values()]
    parts = [source.files, source.finished, source.run, source.decontamination, settings, schemas]
    return fingerprint([*parts, medreason_dist.__version__])


def _find_published(target: Folder, identity: str) -> dict[str, Any] | None:
    """Returns the manifest of a folder that has this dataset, None of one that is empty or where it was cut off.

    Raises :class:`StorageError` where something else is in it.
    """
    there = target.names()
    if MANIFEST in there:
        manifest: dict[str, Any] = target.read_json(MANIFEST)
        if manifest.get("fingerprint") == identity:
            return manifest
        what = (
            "another dataset is published there, or the same run before it grew, by other settings or another version"
        )
    elif not there or (CLAIM in there and target.read_json(CLAIM) == {"fingerprint": identity}):
        return None
    else:
        what = f"the folder holds something else, such as {there[0]}"
    raise StorageError(what, target.uri, REMEDY)


def _claim(target: Folder, identity: str) -> None:
    """Takes a folder for this dataset, or again. Whoever writes it writes the same files, so that several may."""
    claim = json.dumps({"fingerprint": identity}).encode()
    if not target.create(CLAIM, claim) and target.read(CLAIM) != claim:
        raise StorageError("another dataset is being published there", target.uri, REMEDY)


def _write_rows(target: Folder, source: Source, config: PublishConfig) -> dict[str, dict[str, Written]]:
    """Writes the accepted rows in all formats, and returns what was written by format and split.

    Holds the rows of one shard, and of each split no more than ``publish.file_bytes`` beside them.
    """
    written = {name: {split: Written() for split, share in config.splits.items() if share} for name in FORMATS}
    pending: dict[str, list[dict[str, pa.Table]]] = defaultdict(list)
    held_bytes: Counter[str] = Counter()

    def flush(split: str) -> None:
        for name, schema in FORMATS.items():
            table = pa.concat_tables(tables[name] for tables in pending[split])
            _write_table(target, f"{name}/{split}", table, schema, written[name][split])
        del pending[split], held_bytes[split]

    for shard in source.tables():
        for split, tables in _split_rows(shard, source.run, config):
            pending[split].append(tables)
            held_bytes[split] += sum(table.nbytes for table in tables.values())
            if held_bytes[split] >= config.file_bytes:
                flush(split)
    for split in list(pending):
        flush(split)
    return written


def _split_rows(traces: pa.Table, run: str, config: PublishConfig) -> Iterator[tuple[str, dict[str, pa.Table]]]:
    """Yields, for each split that a shard has accepted rows of, their tables by format."""
    splits: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in accepted_rows(traces):
        splits[choose_split(row["question_id"], config.splits)].append(row)
    for split, rows in splits.items():
        yield (
            split,
            {
                "data": pa.Table.from_pylist([publish_row(row, run) for row in rows], PUBLISHED),
                "chat": pa.Table.from_pylist([chat_row(row, config.system_prompt) for row in rows], CHAT),
            },
        )


def _write_table(target: Folder, start: str, table: pa.Table, schema: pa.Schema, written: Written) -> None:
    name = f"{start}-{len(written.files):05d}.parquet"
    target.write_table(name, table)
    # Counted from the file, as every manifest here is.
    there, digest = target.read_digested(name, schema)
    written.rows += there.num_rows
    written.table_bytes += there.nbytes
    written.files[name] = digest
