"""The report of a run: its figures against plain counting, what the page says, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.planted_run import Planter, plant_run, write_run
from medreason_dist.config import Config, Method, load_config, to_dict
from medreason_dist.errors import RunError, StorageError
from medreason_dist.report.archive import INDEX, Archive, Block, read_blocks
from medreason_dist.report.figures import (
    EXAMPLES,
    MEANINGS,
    STEPS,
    RunFigures,
    Tally,
    changed_keys,
    compare_forecast,
    measure_cost,
)
from medreason_dist.report.run import PAGE, write_report
from medreason_dist.schemas import TRACES, RejectReason
from medreason_dist.storage import MANIFEST, Folder
from tests.conftest import ROOT

if TYPE_CHECKING:
    from benchmarks.s3_server import S3Server

ROWS = [Planter(1).row(0), *(Planter(2).row(number) for number in range(1, 3))]
NOTHING: dict[str, Any] = {"rows_read": 0, "dropped_by_reason": {}, "beyond_limit": 0}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    planter = Planter()
    return [planter.row(number) for number in range(300)]


@pytest.fixture(scope="module")
def figures(rows: list[dict[str, Any]]) -> RunFigures:
    manifest = {"rows_read": 320, "dropped_by_reason": {"duplicate": 15}, "beyond_limit": 5}
    return tally(rows).figures(manifest)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(str(tmp_path_factory.mktemp("run")))
    plant_run(folder, 100, shard_questions=30)
    return folder


@pytest.fixture(scope="module")
def page(run: Folder) -> Page:
    return read_page(run)


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's words and tables alone, which takes a tenth of the time."""
    for name in ("bar_chart", "step_chart", "quantile_chart"):
        monkeypatch.setattr(f"medreason_dist.report.run.{name}", lambda *_, **__: "<svg></svg>")


def tally(rows: list[dict[str, Any]]) -> Tally:
    made = Tally()
    for start in range(0, len(rows), 70):
        shard = pa.Table.from_pylist(rows[start : start + 70], TRACES).to_pylist()
        made.add(shard)
        for row in shard:
            made.take_example(row)
    return made


class Page(HTMLParser):
    """The elements of a page with their attributes, its text, and the content of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        inside = self.tags[-1][0] if self.tags else ""
        (self.scripts if inside == "script" and data.strip() else self.words).append(data)

    @property
    def blocks(self) -> list[Block]:
        kinds = [attributes.get("data-kind") for tag, attributes in self.tags if tag == "script"]
        return [Block(kind, text) for kind, text in zip(kinds, self.scripts, strict=True) if kind]


def read_page(run: Folder, audit_rows: int = 1000, **options: Any) -> Page:
    write_report(run, audit_rows=audit_rows, **options)
    return Page(run.read(PAGE).decode())


# Figures -------------------------------------------------------------------------------------------------------------


def test_the_funnel_loses_every_row_once(rows: list[dict[str, Any]], figures: RunFigures) -> None:
    counts = [step.rows for step in figures.funnel]
    assert [step.name for step in figures.funnel] == ["rows read", "questions", *STEPS[Method.medreason]]
    assert counts[:2] == [320, 300]
    assert counts == sorted(counts, reverse=True)
    assert figures.funnel[1].lost == {"duplicate (dropped)": 15, "beyond run.limit": 5}
    assert [-change for change in np.diff(counts)] == [sum(step.lost.values()) for step in figures.funnel[1:]]
    lost: Counter[str] = sum((Counter(step.lost) for step in figures.funnel[2:]), Counter())
    assert lost == Counter(row["reject_reason"] for row in rows if row["reject_reason"])
    where = {reason: step.name for step in figures.funnel[2:] for reason in step.lost}
    assert where["no_mentions"] == "with mentions"
    assert where["no_answer_entity"] == "linked on both sides"
    assert where["leaked_answer"] == "not leaked"
    assert where["wrong_answer"] == "accepted"


def test_without_a_graph_the_funnel_begins_with_the_reasoning() -> None:
    rows = list(map(without_graph, map(Planter(3).row, range(100))))
    outcomes = Counter(row["reject_reason"] for row in rows)
    made = Tally(Method.plain_cot)
    made.add(pa.Table.from_pylist(rows, TRACES).to_pylist())
    steps = made.figures(NOTHING).funnel[2:]
    assert [step.name for step in steps] == ["with reasoning written", "not leaked", "answered blind", "accepted"]
    assert steps[-1].rows == outcomes[None] > 0
    assert {step.name: step.lost for step in steps if step.lost} == {
        "with reasoning written": {"malformed_trace": outcomes["malformed_trace"]},
        "not leaked": {"leaked_answer": outcomes["leaked_answer"]},
        "accepted": {"wrong_answer": outcomes["wrong_answer"]},
    }


def without_graph(row: dict[str, Any]) -> dict[str, Any]:
    """A planted row as a plain chain of thought has it; what ended before its reasoning is malformed."""
    reason = "malformed_trace" if row["reasoning"] is None else row["reject_reason"]
    nothing: dict[str, Any] = {"mentions": [], "question_entities": [], "answer_entities": [], "paths": []}
    rejected = {"status": "rejected" if reason else "accepted", "reject_reason": reason}
    return row | nothing | {"candidate_path_count": 0, "grounding": None} | rejected


def test_a_request_that_fails_is_lost_where_it_failed() -> None:
    accepted = next(row for row in map(Planter(3).row, range(50)) if row["status"] == "accepted")
    failed = accepted | {"status": "rejected", "reject_reason": "engine_error", "answer_from_reasoning": None}
    early = failed | {"paths": [], "reasoning": None}
    lost = {step.name: step.lost for step in tally([accepted, failed, early]).figures(NOTHING).funnel if step.lost}
    assert lost == {"with paths kept": {"engine_error": 1}, "answered blind": {"engine_error": 1}}


def test_every_reason_has_its_meaning_and_first_examples(rows: list[dict[str, Any]], figures: RunFigures) -> None:
    assert MEANINGS.keys() == set(RejectReason)
    assert [rejection.rows for rejection in figures.rejections] == sorted(
        Counter(row["reject_reason"] for row in rows if row["reject_reason"]).values(), reverse=True
    )
    for rejection in figures.rejections:
        of_reason = [row["question_id"] for row in rows if row["reject_reason"] == rejection.reason]
        assert [example.question_id for example in rejection.examples] == of_reason[:EXAMPLES]


def test_yield_and_tokens(rows: list[dict[str, Any]], figures: RunFigures) -> None:
    asked = Counter(row["dataset"] for row in rows)
    accepted = Counter(row["dataset"] for row in rows if row["status"] == "accepted")
    assert {each.name: (each.questions, each.accepted) for each in figures.datasets} == {
        name: (asked[name], accepted[name]) for name in asked
    }
    by_subject = Counter((row["dataset"], row["subject"] or "") for row in rows)
    assert Counter({(each.name, each.subject): each.questions for each in figures.subjects}) == by_subject
    keys = ("prompt_tokens", "completion_tokens", "replayed_tokens")
    spent: Counter[str] = Counter()
    for row in rows:
        spent[row["reject_reason"] or "accepted"] += sum(used[key] for used in row["usage"] for key in keys)
    assert figures.tokens_by_outcome == spent


def test_links_and_prompts(rows: list[dict[str, Any]], figures: RunFigures) -> None:
    question, answer = figures.links
    assert question.mentions == sum(m["side"] == "question" for row in rows for m in row["mentions"] or [])
    assert question.questions == sum(bool(row["question_entities"]) for row in rows)
    assert answer.linked_by == Counter(e["linked_by"] for row in rows for e in row["answer_entities"] or [])
    assert answer.entities == sum(answer.linked_by.values())
    assert {prompt.rows for prompt in figures.prompts} == {300}
    assert [prompt.stage for prompt in figures.prompts][:3] == ["extract", "link", "prune"]


def test_paths_and_hubs(rows: list[dict[str, Any]], figures: RunFigures) -> None:
    kept = [path["nodes"] for row in rows for path in row["paths"] or []]
    inner = Counter(node for nodes in kept for node in set(nodes[1:-1]))
    assert figures.paths.kept == len(kept)
    assert figures.paths.by_hops == Counter(len(nodes) - 1 for nodes in kept)
    assert figures.paths.candidates == sum(row["candidate_path_count"] for row in rows)
    ranked = sorted(inner, key=lambda node: (-inner[node], node))[:20]
    assert [(hub.node_index, hub.paths) for hub in figures.paths.hubs] == [(node, inner[node]) for node in ranked]
    for top, share in figures.paths.top_share.items():
        through = sum(bool(set(ranked[:top]) & set(nodes[1:-1])) for nodes in kept)
        assert share == pytest.approx(through / len(kept))
    assert figures.paths.top_share.keys() == {1, 5, 20}


def test_latency_and_throughput(rows: list[dict[str, Any]], figures: RunFigures) -> None:
    assert list(figures.latency_ms)[:2] == ["all", "accepted"]
    assert figures.latency_ms["all"].maximum == max(round(1000 * row["latency_s"]) for row in rows)
    assert figures.throughput is not None
    assert figures.throughput.start == "2026-03-01 08:00:00 UTC"
    assert sum(figures.throughput.finished) == 300
    assert sum(figures.throughput.accepted) == sum(row["status"] == "accepted" for row in rows)
    assert figures.throughput.bin_s * len(figures.throughput.finished) == pytest.approx(299 * 0.12)


def test_scores_are_of_the_accepted_rows_that_have_them() -> None:
    row = next(row for row in map(Planter(3).row, range(50)) if row["status"] == "accepted")
    scored = [row | {"grounding": {"coverage": score}} for score in (0.0, 0.25, 1.0, None)]
    rejected = row | {"status": "rejected", "reject_reason": "wrong_answer", "grounding": {"coverage": 0.5}}
    (scores,) = tally([*scored, rejected]).figures(NOTHING).scores
    assert (scores.name, scores.rows, scores.histogram) == ("coverage", 3, [1, 0, 1, 0, 0, 0, 0, 0, 0, 1])
    assert (round(scores.mean, 4), scores.quartiles[1]) == (0.4167, 0.25)


def test_no_rows_have_figures_too() -> None:
    found = tally([]).figures(NOTHING)
    assert [step.rows for step in found.funnel] == [0] * len(found.funnel)
    assert (found.rejections, found.throughput, found.latency_ms, found.paths.hubs, found.scores) == (
        (),
        None,
        {},
        (),
        (),
    )


def test_cost() -> None:
    config = to_dict(Config())
    config["workers"] |= {"count": 4, "num_gpus": 2}
    manifest = {"config": config, "wall_s": 1800.0, "accepted": 100}
    assert measure_cost(manifest, 2.5) == (8.0, 4.0, 10.0, 0.1)
    assert measure_cost(manifest, None)[2:] == (None, None)
    assert measure_cost(manifest | {"accepted": 0}, 2.5)[2:] == (10.0, None)
    config["workers"]["num_gpus"] = 0
    assert measure_cost(manifest, 2.5)[2:] == (None, None)


def test_a_forecast_is_compared_entry_by_entry() -> None:
    forecast = {"expected": {"tokens": 100, "by_stage": {"link": 8}, "note": "x"}, "actual": {"tokens": 120, "gpus": 0}}
    assert compare_forecast(forecast) == [
        ("tokens", 100, 120, 1.2),
        ("by_stage.link", 8, None, None),
        ("note", "x", None, None),
        ("gpus", None, 0, None),
    ]
    assert compare_forecast({}) == []


def test_config_keys_that_differ() -> None:
    config = to_dict(Config())
    config["run"]["seed"] = 7
    config["of_another_version"] = {"key": 1}
    changed, unchanged = changed_keys(config)
    assert changed == {"run.seed": 7, "of_another_version.key": 1}
    assert unchanged["run.shard_questions"] == 64


# The rows in the page ------------------------------------------------------------------------------------------------


def test_an_archive_gives_back_its_rows(rows: list[dict[str, Any]]) -> None:
    archive = Archive()
    finished = datetime(2026, 3, 1, 8, 0, 0, 120_000, tzinfo=UTC)
    last = rows[1] | {"latency_s": float("nan"), "reasoning": "</script>\u2028\n𝛼 \0", "finished_at": finished}
    for row in [*rows[:70], last]:
        archive.add(row)
    blocks = archive.close()
    assert Counter(block.kind for block in blocks) == {"index": 1, "details": 3}
    assert read_blocks(blocks, "index") == [[row[name] for name in INDEX] for row in [*rows[:70], last]]
    details = read_blocks(blocks, "details")
    assert len(details) == archive.rows == 71
    assert details[0]["paths"] == rows[0]["paths"]
    assert details[70]["latency_s"] is None
    assert details[70]["reasoning"] == last["reasoning"]
    assert details[70]["finished_at"] == "2026-03-01 08:00:00.120000+00:00"
    assert not set(INDEX) & details[0].keys()
    assert not re.search(r"[^A-Za-z0-9+/=]", "".join(block.text for block in blocks))


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page(run: Folder, page: Page) -> None:
    manifest = run.read_json(MANIFEST)
    assert run.uri in page.text
    assert f"of {manifest['questions']} questions" in page.text
    assert "This page holds" not in page.text
    assert "plan.price_per_gpu_hour" in page.text
    tags = Counter(tag for tag, _ in page.tags)
    assert tags["svg"] == 6
    assert tags["table"] == tags["caption"]
    assert len(read_blocks(page.blocks, "index")) == len(read_blocks(page.blocks, "details")) == 100


@pytest.mark.usefixtures("without_charts")
def test_the_same_run_gives_the_same_page(run: Folder) -> None:
    first = read_page(run)
    assert first.text == read_page(run).text
    assert first.blocks == read_page(run).blocks


def test_the_page_runs_its_own_script_only(page: Page) -> None:
    policy = next(str(held["content"]) for tag, held in page.tags if held.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    kinds = [held.get("type", "script") for tag, held in page.tags if tag == "script"]
    assert Counter(kinds) == {"text/plain": len(page.blocks), "script": 1}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("href", "src") or str(value).startswith("#"), (tag, value)
    assert "innerHTML" not in page.scripts[-1]


@pytest.mark.usefixtures("without_charts")
def test_rows_that_the_page_leaves_out_are_told_and_examples_stay(run: Folder) -> None:
    page = read_page(run, audit_rows=10)
    index = read_blocks(page.blocks, "index")
    examples = {str(held["href"]) for tag, held in page.tags if str(held.get("href")).startswith("#q=")}
    assert examples <= {f"#q={row[0]}" for row in index}
    assert 10 < len(index) < 40
    assert f"This page holds {len(index)} of 100 questions" in page.text


@pytest.mark.usefixtures("without_charts")
def test_price_forecast_and_decontamination(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    more: dict[str, Any] = {
        "forecast": {"expected": {"tokens": 200}, "actual": {"tokens": 250}},
        "decontamination": {"benchmarks": {"medqa_test": 700}, "methods": ["exact", "overlap"], "none": {}, "on": True},
    }
    write_run(folder, iter(ROWS), **more)
    page = read_page(folder, price_per_gpu_hour=3.0)
    assert "tokens 200 250 1.25" in page.text
    assert "benchmarks.medqa_test 700 methods exact, overlap none none on true" in page.text
    assert "At 3 an hour that is 0.00" in page.text


@pytest.mark.usefixtures("without_charts")
def test_a_page_without_a_graph_has_no_figures_of_one(run: Folder, page: Page, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    config = to_dict(load_config(Config, None, ["run.method=plain_cot"]))
    write_run(folder, map(without_graph, map(Planter(3).row, range(40))), config=config)
    found = read_page(folder)
    assert "Plain chain of thought:" in found.text and "Plain chain of thought:" not in page.text
    headings = ("Links", "Paths", "Grounding of the accepted rows", "with paths kept")
    assert all(heading in page.text and heading not in found.text for heading in headings)
    assert [held["data-method"] for _, held in found.tags if "data-method" in held] == ["plain_cot"]


@pytest.mark.usefixtures("without_charts")
def test_a_run_of_the_first_version(run: Folder, tmp_path: Path) -> None:
    old = Folder(str(tmp_path))
    counted = pa.struct({"path_nodes": pa.int32(), "path_nodes_named": pa.int32()})
    fields = [pa.field("grounding", counted) if f.name == "grounding" else f for f in TRACES if f.name != "finished_at"]
    planter = Planter()
    rows = [planter.row(number) for number in range(20)]
    for row in rows:
        row["grounding"] = row["grounding"] and {"path_nodes": 3, "path_nodes_named": 2}
    write_run(old, iter(rows))
    old.write_table("traces/shard=00000.parquet", pa.Table.from_pylist(rows, pa.schema(fields)))
    page = read_page(old)
    assert "The rows do not say when they were finished" in page.text
    assert "The accepted rows have no scores" in page.text
    assert all("finished_at" not in row for row in read_blocks(page.blocks, "details"))


@pytest.mark.usefixtures("without_charts")
def test_a_run_without_questions(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    write_run(folder, iter(()))
    page = read_page(folder)
    assert "no question was rejected." in page.text
    assert page.blocks == []


def test_what_is_refused(run: Folder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not finished"):
        write_report(Folder(str(tmp_path)), audit_rows=10)
    write_run(Folder(str(tmp_path)), iter(ROWS), questions=4)
    with pytest.raises(RunError, match="the traces hold 3 rows, the manifest says 4"):
        write_report(Folder(str(tmp_path)), audit_rows=10)
    traces = Folder(str(tmp_path)).child("traces")
    traces.write_table("shard=00000.parquet", pa.Table.from_pylist(ROWS, TRACES).drop_columns(["paths", "status"]))
    with pytest.raises(StorageError, match="lacks the columns status, paths"):
        write_report(Folder(str(tmp_path)), audit_rows=10)
    assert not Folder(str(tmp_path)).exists(PAGE)


def test_a_pause_between_two_starts_shows() -> None:
    later = [ROWS[0] | {"finished_at": ROWS[0]["finished_at"] + timedelta(hours=hours)} for hours in (0, 10)]
    throughput = tally(later).figures(NOTHING).throughput
    assert throughput is not None
    assert [throughput.finished[0], *set(throughput.finished[1:-1]), throughput.finished[-1]] == [1, 0, 1]


@pytest.mark.slow
def test_the_job_prints_and_says_where_the_page_lies(run: Folder) -> None:
    command = [sys.executable, "jobs/report.py", f"run.uri={run.uri}", "report.traces=1", "report.audit_rows=50"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rows read")
    assert done.stdout.count("Verdict: accepted") == 1
    assert done.stdout.endswith(f"\n  {run.uri}/report.html\n")
    assert len(read_blocks(Page(run.read(PAGE).decode()).blocks, "index")) < 80


@pytest.mark.s3
def test_a_run_on_s3(s3: S3Server) -> None:
    run = Folder(f"{s3.new_bucket()}/runs/one", s3.storage)
    plant_run(run, 20)
    assert write_report(run, audit_rows=20) == f"{run.uri}/{PAGE}"
    assert len(read_blocks(Page(run.read(PAGE).decode()).blocks, "details")) == 20
