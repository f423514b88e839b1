"""A run that was made for real (but for Ray and the model), published and opened as its users do."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.s3_server import S3Server
from medreason_dist.config import Config, Method, load_config
from medreason_dist.errors import ConfigError, ReconcileError, RunError, StorageError
from medreason_dist.publishing.dataset import CLAIM, publish_dataset
from medreason_dist.publishing.published import PublishedDataset, open_dataset
from medreason_dist.schemas import PUBLISHED
from medreason_dist.storage import MANIFEST, Folder
from tests.publishing.conftest import MakeRun

LOAD = """
import json, sys
from datasets import load_dataset
default, chat = load_dataset(sys.argv[1]), load_dataset(sys.argv[1], "chat")
streamed = next(iter(load_dataset(sys.argv[1], split="train", streaming=True)))
print(json.dumps({
    "rows": {name: split.num_rows for name, split in default.items()},
    "features": {name: str(kind) for name, kind in default["train"].features.items()},
    "first": default["train"][0],
    "streamed": streamed,
    "chat": chat["train"][0],
    "chat_rows": {name: split.num_rows for name, split in chat.items()},
}))
"""


@pytest.fixture(scope="module")
def published(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A published run: 26 questions in 4 shards, some accepted."""
    config = make_run(tmp_path_factory.mktemp("published"))
    publish_dataset(config)
    return config


@pytest.fixture
def config(published: Config, tmp_path: Path) -> Config:
    """The same run, to be published elsewhere."""
    return elsewhere(published, tmp_path)


def elsewhere(config: Config, folder: Path, **settings: Any) -> Config:
    return replace(config, publish=replace(config.publish, uri=str(folder / "dataset"), **settings))


def copied(config: Config, folder: Path) -> tuple[Config, Path]:
    """The config of a copy of a run, and where that lies."""
    for name in (source := Folder(config.run.uri)).names():
        Folder(f"{folder}/run").write(name, source.read(name))
    return elsewhere(replace(config, run=replace(config.run, uri=f"{folder}/run")), folder), folder / "run"


def rows(config: Config, split: str = "*", place: str = "data") -> list[dict[str, Any]]:
    return [row for path in sorted(Path(config.publish.uri, place).glob(f"{split}-*.parquet")) for row in read(path)]


def read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def files(config: Config) -> dict[str, bytes]:
    folder = Folder(config.publish.uri, config.storage)
    return {name: folder.read(name) for name in folder.names()}


def accepted(config: Config) -> Iterator[dict[str, Any]]:
    for path in sorted(Path(config.run.uri, "traces").glob("*.parquet")):
        yield from (row for row in read(path) if row["status"] == "accepted")


# What comes out ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_accepted_row_is_in_one_split_in_both_formats(published: Config) -> None:
    wanted = {row["question_id"]: row for row in accepted(published)}
    found = rows(published)
    assert len(wanted) > 5
    assert sorted(row["question_id"] for row in found) == sorted(wanted)
    for row in found:
        trace = wanted[row["question_id"]]
        assert (row["dataset_name"], row["reasoning"]) == (trace["dataset"], trace["reasoning"])
        assert (row["coverage"], row["usage"]) == (trace["grounding"]["coverage"], trace["usage"])
    assert [row["question_id"] for row in rows(published, place="chat")] == [row["question_id"] for row in found]


def test_the_manifest_counts_and_identifies_what_is_there(published: Config) -> None:
    there = files(published)
    manifest = json.loads(there.pop(MANIFEST))
    assert set(manifest["files"]) == set(there)
    assert manifest["rows"] == sum(manifest["splits"].values()) == len(rows(published))
    assert manifest["decontamination"]["benchmarks"] == {"own": 6}
    assert pq.read_schema(Path(published.publish.uri, "data/train-00000.parquet")).names == PUBLISHED.names


def test_the_card_and_the_manifest_say_that_the_rows_stand_on_the_graph(published: Config) -> None:
    card = files(published)["README.md"].decode()
    assert "\n# Medical reasoning along PrimeKG\n" in card and "| method | medreason |" in card
    assert all(words in card for words in ("along paths of a biomedical", "- knowledge-graph\n", "chandak2023primekg"))
    dataset = open_dataset(Folder(published.publish.uri))
    digest = hashlib.sha256(Path(published.questions.decontaminate["own"]).read_bytes()).hexdigest()
    assert dataset.method is Method.medreason and dataset.manifest["decontamination"]["files"] == {"own": [digest]}
    assert f"| own | `{digest}` |" in card


def test_a_dataset_of_the_first_versions_is_along_the_graph_and_names_no_files(published: Config) -> None:
    manifest = manifest_of(published)
    del manifest["method"], manifest["decontamination"]["files"]
    dataset = PublishedDataset(Folder(published.publish.uri), manifest)
    assert (dataset.method, dataset.benchmarks) == (Method.medreason, ("own",))


def test_a_plain_chain_of_thought_is_published_as_one(make_run: MakeRun, tmp_path: Path) -> None:
    config = make_run(tmp_path, "run.method=plain_cot")
    publish_dataset(config)
    found = rows(config)
    assert len(found) > 5
    assert all(not row["paths"] and not row["answer_entities"] and row["coverage"] is None for row in found)
    assert {row["prompts"][0]["version"] for row in found} == {"plain 1"}
    assert (manifest_of(config)["method"], open_dataset(Folder(config.publish.uri)).method) == ("plain_cot",) * 2
    card = files(config)["README.md"].decode()
    assert yaml.safe_load(card.split("---\n")[1])["pretty_name"] == "Medical reasoning by plain chain of thought"
    assert "**plain chain of thought**" in card and "| method | plain\\_cot |" in card
    assert "\n1. The model wrote" in card and "\n2. Statements of the answer" in card
    assert not any(words in card for words in ("PrimeKG", "knowledge-graph", "fingerprint of graph", "## Grounding"))


@pytest.mark.slow
def test_the_datasets_library_opens_it_in_a_process_of_its_own(published: Config, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", LOAD, published.publish.uri]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    expected = {name: count for name, count in manifest_of(published)["splits"].items() if count}
    assert loaded["rows"] == loaded["chat_rows"] == expected
    assert list(loaded["features"]) == PUBLISHED.names
    assert loaded["features"]["coverage"] == "Value('float32')"
    assert loaded["features"]["paths"] == "List(Value('string'))"
    assert loaded["first"] == loaded["streamed"] == rows(published, "train")[0]
    assert [message["role"] for message in loaded["chat"]["messages"]] == ["user", "assistant"]


def manifest_of(config: Config) -> dict[str, Any]:
    manifest: dict[str, Any] = Folder(config.publish.uri, config.storage).read_json(MANIFEST)
    return manifest


@pytest.mark.slow
def test_rows_stay_in_their_split_when_the_run_grows(published: Config, make_run: MakeRun, tmp_path: Path) -> None:
    small = make_run(tmp_path, "run.limit=13")
    publish_dataset(small)
    before, after = (
        {row["question_id"]: split for split in config.publish.splits for row in rows(config, split)}
        for config in (small, published)
    )
    assert 0 < len(before) < len(after)
    assert before.items() <= after.items()


def test_a_split_is_spread_over_files_of_bounded_size(config: Config, tmp_path: Path) -> None:
    publish_dataset(elsewhere(config, tmp_path, file_bytes=1))
    names = [name for name in files(config) if name.startswith("data/train-")]
    assert names[:2] == ["data/train-00000.parquet", "data/train-00001.parquet"]
    assert len(names) > 2


def test_the_system_prompt_and_other_splits_are_the_configs(config: Config, tmp_path: Path) -> None:
    changed = elsewhere(
        config, tmp_path, splits={"all_of_it": 1.0, "test": 0.0}, system_prompt="Reason.", name="X | <y>"
    )
    assert publish_dataset(changed)["splits"] == {"all_of_it": manifest_of_run(config)["accepted"]}
    assert {row["messages"][0]["content"] for row in rows(changed, place="chat")} == {"Reason."}
    assert "\n# X \\| \\<y\\>\n" in files(changed)["README.md"].decode()


def manifest_of_run(config: Config) -> dict[str, Any]:
    manifest: dict[str, Any] = Folder(config.run.uri).read_json(MANIFEST)
    return manifest


def test_the_same_dataset_again_changes_nothing_and_is_the_same_elsewhere(published: Config, config: Config) -> None:
    before = files(published)
    publish_dataset(published)
    publish_dataset(config)
    assert files(published) == files(config) == before


def test_a_publication_that_was_cut_off_is_done_anew(
    published: Config, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("medreason_dist.publishing.dataset.write_card", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish_dataset(config)
    assert {CLAIM, "data/train-00000.parquet"} <= set(files(config))
    assert MANIFEST not in files(config)
    publish_dataset(config)
    assert files(config) == files(published)


# What is refused -----------------------------------------------------------------------------------------------------


def require_refused(config: Config, error: type[Exception], words: str) -> None:
    before = files(config)
    with pytest.raises(error, match=words):
        publish_dataset(config)
    assert files(config) == before


def test_a_folder_of_something_else_is_left_alone(config: Config, tmp_path: Path) -> None:
    Folder(config.publish.uri).write("thesis.tex", b"mine")
    require_refused(config, StorageError, "holds something else, such as thesis.tex")


@pytest.mark.parametrize("change", [{"license": "mit"}, {"splits": {"train": 1.0}}, {"allow_unfinished": True}])
def test_another_dataset_is_left_alone(config: Config, tmp_path: Path, change: dict[str, Any]) -> None:
    publish_dataset(config)
    require_refused(elsewhere(config, tmp_path, **change), StorageError, "another dataset is published there")


def test_where_there_is_no_run_nothing_is_made(config: Config, tmp_path: Path) -> None:
    require_refused(replace(config, run=replace(config.run, uri=str(tmp_path / "no"))), RunError, "there is no run")
    assert not Path(config.publish.uri).exists()


def test_an_unfinished_run_is_published_only_when_told_so_and_the_card_says_it(
    published: Config, tmp_path: Path
) -> None:
    config, run = copied(published, tmp_path)
    (run / MANIFEST).unlink()
    (run / "traces/shard=00001.parquet").unlink()
    require_refused(config, RunError, "no manifest, and traces of 3 of 4 shards")
    told = elsewhere(config, tmp_path, allow_unfinished=True)
    publish_dataset(told)
    card = files(told)["README.md"].decode()
    assert "**Of an unfinished run.** 3 of 4 shards" in card
    assert "| − not yet asked | 8 |" in card
    assert len(rows(told)) == len(list(accepted(told))) < len(rows(published))


def test_a_run_without_decontamination_is_published_only_when_told_so_and_the_card_says_it(
    make_run: MakeRun, tmp_path: Path
) -> None:
    config = make_run(tmp_path, "run.limit=8", decontaminate=False)
    require_refused(config, RunError, "compared with no benchmark")
    told = elsewhere(config, tmp_path, allow_undecontaminated=True)
    publish_dataset(told)
    assert "> **Not decontaminated.**" in files(told)["README.md"].decode()


def test_a_run_that_was_changed_since_is_refused(published: Config, tmp_path: Path) -> None:
    config, run = copied(published, tmp_path)
    table = pq.read_table(run / "traces/shard=00002.parquet")
    pq.write_table(table, run / "traces/shard=00002.parquet", compression="none")
    require_refused(config, RunError, "not the one that the run wrote")


def test_a_damaged_file_is_refused(published: Config, tmp_path: Path) -> None:
    config, run = copied(published, tmp_path)
    (run / "traces/shard=00002.parquet").write_bytes(b"PAR1")
    require_refused(config, StorageError, "not readable Parquet")


@pytest.mark.parametrize("missing", [True, False])
def test_files_beside_those_of_the_manifest_are_refused(published: Config, tmp_path: Path, missing: bool) -> None:
    config, run = copied(published, tmp_path)
    shard = run / "traces/shard=00003.parquet"
    shard.unlink() if missing else (run / "traces/shard=00009.parquet").write_bytes(shard.read_bytes())
    require_refused(config, RunError, "files are not those of its manifest, such as traces/shard=0000")


def test_a_manifest_that_counts_otherwise_fails(published: Config, tmp_path: Path) -> None:
    config, _ = copied(published, tmp_path)
    run = Folder(config.run.uri)
    run.write_json(MANIFEST, {**run.read_json(MANIFEST), "accepted": 1})
    require_refused(config, ReconcileError, "not its manifest's")


def test_a_run_of_rejections_alone_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    config = make_run(tmp_path, "run.limit=8", reply=lambda request: None)
    require_refused(config, RunError, "no accepted row, of 8")


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["publish.splits.train=0.5"], "shares of 0.6 in sum"),
        (["publish.splits.train=1.1", "publish.splits.test=-0.15"], "shares of 1 in sum"),
        (["publish.splits.a-b=0.0"], "splits.a-b' names no split"),
        (["publish.splits.all=0.0"], "splits.all' names no split"),
        (["publish.file_bytes=0"], "must be 1 or more"),
    ],
)
def test_splits_that_are_no_whole_are_refused(pairs: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(Config, None, pairs)


# Hostile text, and S3 ------------------------------------------------------------------------------------------------

HOSTILE = (
    "a | b\n\n# Heading\n---\n<script>alert(1)</script> `x` [y](javascript:z) <|im_end|> \x00 \u202e {{ 7 * 7 }} \"'"
)


def test_hostile_text_stays_text_in_rows_and_card(published: Config, tmp_path: Path) -> None:
    config, run = copied(published, tmp_path)
    for path in sorted((run / "traces").glob("*.parquet")):
        table = pq.read_table(path)
        changed = {name: pa.array([HOSTILE] * table.num_rows) for name in ("question", "model", "reasoning", "subject")}
        for name, column in changed.items():
            table = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(table, path)
    manifest = Folder(str(run)).read_json(MANIFEST)
    digests = {name: Folder(str(run)).read_digested(name)[1] for name in manifest["files"]}
    decontamination = manifest["decontamination"] | {"benchmarks": {HOSTILE: HOSTILE}}
    Folder(str(run)).write_json(MANIFEST, {**manifest, "files": digests, "decontamination": decontamination})
    config = elsewhere(config, tmp_path, name=HOSTILE, license=HOSTILE)
    publish_dataset(config)
    assert {(row["question"], row["model"], row["reasoning"]) for row in rows(config)} == {(HOSTILE,) * 3}
    front, body = files(config)["README.md"].decode().split("---\n", 2)[1:]
    assert yaml.safe_load(front)["pretty_name"] == HOSTILE
    assert "<" not in body.replace("\\<", "")
    assert "\n# Heading" not in body
    assert "{{ 7 \\* 7 }}".replace("{", "\\{").replace("}", "\\}") in body
    told = [line for line in body.splitlines() if "Heading" in line and line.startswith("|")]
    assert len(told) == 2, "the model, and the benchmark with its rows"
    assert all(line.replace("\\|", "").count("|") == 3 for line in told)


@pytest.mark.s3
def test_it_is_published_to_s3_as_to_a_folder(published: Config, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    run = Folder(f"{bucket}/run", s3.storage)
    for name in (local := Folder(published.run.uri)).names():
        run.write(name, local.read(name))
    publish = replace(published.publish, uri=f"{bucket}/dataset")
    there = replace(published, storage=s3.storage, run=replace(published.run, uri=run.uri), publish=publish)
    publish_dataset(there)
    assert files(there) == files(published)
    publish_dataset(there)
