"""What a run's report tells in figures: added up shard by shard, of which one at a time is in memory."""

from __future__ import annotations

import itertools
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medreason_dist.config import Config, Method, leaves, to_dict
from medreason_dist.report.charts import Quantiles, measure_quantiles
from medreason_dist.schemas import RejectReason, Side, Stage, Status

Row = Mapping[str, Any]
"""A row of :data:`~medreason_dist.schemas.TRACES`; a column that an older run lacks is None."""

Steps = Mapping[str, Callable[[Row], bool]]
"""Steps of the funnel after the questions, in order: by the name of each whether a row passed it."""

EXAMPLES: Final = 3
HUBS: Final = 20
TOP_HUBS: Final = (1, 5, 20)
SUBJECTS: Final = 40
BINS: Final = 40
SCORES: Final = ("coverage", "support", "off_path")
SCORE_EDGES: Final = tuple(step / 10 for step in range(11))

_REASONING_STEPS: Final[Steps] = {
    "with reasoning written": lambda row: row["reasoning"] is not None,
    "not leaked": lambda row: row["reject_reason"] != RejectReason.leaked_answer,
    "answered blind": lambda row: row["answer_from_reasoning"] is not None,
    "accepted": lambda row: row["status"] == Status.accepted,
}
STEPS: Final[Mapping[Method, Steps]] = {
    Method.medreason: {
        "with mentions": lambda row: bool(row["mentions"]),
        "linked on both sides": lambda row: bool(row["question_entities"]) and bool(row["answer_entities"]),
        "with paths between them": lambda row: bool(row["candidate_path_count"]),
        "with paths kept": lambda row: bool(row["paths"]),
        **_REASONING_STEPS,
    },
    Method.plain_cot: _REASONING_STEPS,
}

MEANINGS: Final = {
    RejectReason.too_long: "a prompt does not fit the model's context",
    RejectReason.engine_error: "a request failed after its retries, or its reply lacks its form",
    RejectReason.no_mentions: "no entity was found in the text",
    RejectReason.no_question_entity: "nothing in the question is a node of the graph",
    RejectReason.no_answer_entity: "nothing in the answer is a node of the graph",
    RejectReason.no_path_within_bound: "question and answer are too far apart in the graph",
    RejectReason.pruned_all: "the engine kept none of the candidate paths",
    RejectReason.malformed_trace: "what was written lacks the sections of a trace",
    RejectReason.truncated: "a completion ended by its token limit",
    RejectReason.leaked_answer: "without its answer statements too little is left of the reasoning",
    RejectReason.wrong_answer: "the reasoning alone leads to another option",
    RejectReason.judge_rejected: "the judge did not accept the answer that the reasoning leads to",
}

_FACTS: Final = pa.schema(
    {
        "dataset": pa.dictionary(pa.int32(), pa.string()),
        "subject": pa.dictionary(pa.int32(), pa.string()),
        "outcome": pa.dictionary(pa.int32(), pa.string()),
        "passed": pa.int8(),
        "tokens": pa.int64(),
        "latency_ms": pa.int64(),
        "finished_at": pa.timestamp("ms", "UTC"),
        **dict.fromkeys(SCORES, pa.float32()),
    }
)
"""What stays in memory of every row: about 50 bytes. ``outcome`` is ``accepted`` or the reason of the rejection, ``passed``
counts the :data:`STEPS`."""


class Step(NamedTuple):
    """A step of the funnel: how many rows reached it, and what became of those that the step before had more."""

    name: str
    rows: int
    lost: dict[str, int]


class Example(NamedTuple):
    """A rejected question."""

    question_id: str
    question: str
    detail: str


class Rejection(NamedTuple):
    """A reason, how many questions it took, and the first few of them."""

    reason: str
    meaning: str
    rows: int
    examples: tuple[Example, ...]


class Yield(NamedTuple):
    """Questions of a dataset or subject, and what they came to."""

    name: str
    questions: int
    accepted: int
    tokens: int
    subject: str = ""

    @property
    def share(self) -> float:
        """Accepted of all questions."""
        return self.accepted / self.questions if self.questions else 0.0


class Links(NamedTuple):
    """How the mentions of a side were linked. Two mentions of one node make one entity."""

    side: str
    mentions: int
    entities: int
    questions: int
    """Those with an entity at least."""
    linked_by: dict[str, int]


class PathHub(NamedTuple):
    """An inner node of kept paths; ``share`` is of all kept paths."""

    node_index: int
    name: str
    paths: int
    share: float


class Paths(NamedTuple):
    """The kept paths."""

    candidates: int
    kept: int
    by_hops: dict[int, int]
    by_reason: dict[str, int]
    hubs: tuple[PathHub, ...]
    top_share: dict[int, float]
    """The share of kept paths that go through at least one of the so many greatest hubs."""


class Prompt(NamedTuple):
    """A prompt, and the rows that it was used for."""

    stage: str
    version: str
    sha256: str
    rows: int


class Throughput(NamedTuple):
    """Rows by the time at which they were finished, in bins of ``bin_s`` seconds from ``start``."""

    start: str
    bin_s: float
    finished: list[int]
    accepted: list[int]


class Scores(NamedTuple):
    """A grounding score of the accepted rows."""

    name: str
    rows: int
    """Those that have it."""
    mean: float
    quartiles: tuple[float, float, float]
    histogram: list[int]
    """By tenths."""


class Cost(NamedTuple):
    """What a run cost; money in the currency of the price."""

    gpus: float
    gpu_hours: float
    money: float | None
    """None without a price or without GPUs."""
    money_per_accepted: float | None


class RunFigures(NamedTuple):
    """What the report tells of a run."""

    funnel: tuple[Step, ...]
    rejections: tuple[Rejection, ...]
    datasets: tuple[Yield, ...]
    subjects: tuple[Yield, ...]
    """The most frequent ones, as many as :data:`SUBJECTS`."""
    further_subjects: int
    tokens_by_outcome: dict[str, int]
    latency_ms: dict[str, Quantiles]
    """By outcome, all of them first."""
    throughput: Throughput | None
    """None where the rows do not say when they were finished."""
    links: tuple[Links, ...]
    paths: Paths
    prompts: tuple[Prompt, ...]
    scores: tuple[Scores, ...]
    """Empty where the rows have none."""


class Tally:
    """Adds up the rows of a run, and keeps the first examples of every reason."""

    def __init__(self, method: Method = Method.medreason) -> None:
        self.rows = 0
        self._steps = STEPS[method]
        self._facts: list[pa.Table] = []
        self._examples: dict[str, list[Example]] = {}
        self._mentions: Counter[str] = Counter()
        self._linked: dict[Side, Counter[str]] = {side: Counter() for side in Side}
        self._with_entities: Counter[Side] = Counter()
        self._candidates = 0
        self._hops: Counter[int] = Counter()
        self._reasons: Counter[str] = Counter()
        self._names: dict[int, str] = {}
        self._inner = array("q")
        self._inner_path = array("q")
        """The inner nodes of all kept paths, and the number of the path of each."""
        self._prompts: Counter[tuple[str, str, str]] = Counter()

    def add(self, rows: Sequence[Row]) -> None:
        """Adds the rows of a shard."""
        self.rows += len(rows)
        self._facts.append(pa.Table.from_pylist([_facts(row, self._steps) for row in rows], _FACTS))
        for row in rows:
            self._mentions.update(mention["side"] for mention in row["mentions"] or [])
            for side in Side:
                entities = row[f"{side}_entities"] or []
                self._linked[side].update(entity["linked_by"] for entity in entities)
                self._with_entities[side] += bool(entities)
            self._prompts.update((p["stage"], p["version"], p["sha256"]) for p in row["prompts"] or [])
            self._candidates += row["candidate_path_count"] or 0
            self._add_paths(row["paths"] or [])

    def take_example(self, row: Row) -> bool:
        """Keeps a rejected row as an example of its reason unless there are enough; returns whether it did."""
        if row["reject_reason"] is None:
            return False
        examples = self._examples.setdefault(row["reject_reason"], [])
        if len(examples) == EXAMPLES:
            return False
        examples.append(Example(row["question_id"], row["question"], row["reject_detail"] or ""))
        return True

    def figures(self, manifest: Mapping[str, Any]) -> RunFigures:
        """Returns the figures of all rows; ``manifest`` tells of those that did not become questions."""
        facts = pa.concat_tables([_FACTS.empty_table(), *self._facts]).unify_dictionaries().combine_chunks()
        subjects = sorted(_yields(facts, "subject"), key=lambda each: (-each.questions, each))
        return RunFigures(
            funnel=_funnel(facts, self._steps, manifest),
            rejections=self._rejections(facts),
            datasets=tuple(sorted(_yields(facts), key=lambda each: (-each.questions, each))),
            subjects=tuple(subjects[:SUBJECTS]),
            further_subjects=max(len(subjects) - SUBJECTS, 0),
            tokens_by_outcome=_most_first(_sum_by(facts, "outcome", "tokens")),
            latency_ms=_latency(facts),
            throughput=_throughput(facts),
            links=tuple(self._links(side) for side in Side),
            paths=self._path_figures(),
            prompts=tuple(Prompt(*key, rows) for key, rows in sorted(self._prompts.items(), key=_stage_order)),
            scores=tuple(scores for name in SCORES if (scores := _scores(facts, name))),
        )

    def _add_paths(self, paths: Iterable[Row]) -> None:
        for path in paths:
            number = self._hops.total()
            self._hops[len(path["nodes"]) - 1] += 1
            self._reasons[path["reason"]] += 1
            inner = dict(zip(path["nodes"][1:-1], path["names"][1:-1], strict=True))
            self._names.update(inner)
            self._inner.extend(inner)
            self._inner_path.extend([number] * len(inner))

    def _rejections(self, facts: pa.Table) -> tuple[Rejection, ...]:
        counts = _sum_by(facts, "outcome")
        return tuple(
            Rejection(reason, MEANINGS[reason], counts[reason], tuple(self._examples.get(reason, ())))
            for reason in sorted(RejectReason, key=lambda each: -counts.get(each, 0))
            if reason in counts
        )

    def _links(self, side: Side) -> Links:
        linked = self._linked[side]
        return Links(side, self._mentions[side], linked.total(), self._with_entities[side], _most_first(linked))

    def _path_figures(self) -> Paths:
        kept = self._hops.total()
        inner, path = (np.frombuffer(held, dtype=np.int64) for held in (self._inner, self._inner_path))
        nodes, counts = np.unique(inner, return_counts=True)
        order = np.lexsort((nodes, -counts))[:HUBS]
        hubs = [(int(node), int(count)) for node, count in zip(nodes[order], counts[order], strict=True)]
        return Paths(
            candidates=self._candidates,
            kept=kept,
            by_hops=dict(sorted(self._hops.items())),
            by_reason=_most_first(self._reasons),
            hubs=tuple(PathHub(node, self._names[node], count, count / kept) for node, count in hubs),
            top_share={
                top: len(np.unique(path[np.isin(inner, nodes[order[:top]])])) / kept
                for top in TOP_HUBS
                if kept and top <= len(hubs)
            },
        )


def measure_cost(manifest: Mapping[str, Any], price_per_gpu_hour: float | None) -> Cost:
    """Returns GPU hours (wall time × workers × GPUs of each) and, with a price, money; of the last start of the run."""
    workers = manifest["config"]["workers"]
    gpus = float(workers["count"]) * float(workers["num_gpus"])
    gpu_hours = gpus * manifest["wall_s"] / 3600
    money = gpu_hours * price_per_gpu_hour if price_per_gpu_hour is not None and gpus else None
    accepted = manifest["accepted"]
    return Cost(gpus, gpu_hours, money, money / accepted if money is not None and accepted else None)


def compare_forecast(forecast: Mapping[str, Any]) -> list[tuple[str, Any, Any, float | None]]:
    """Returns name, expected, actual, and actual ÷ expected where both are numbers, of each entry of a forecast."""
    expected, actual = (dict(leaves(forecast.get(name) or {})) for name in ("expected", "actual"))
    names = [name for name in dict.fromkeys([*expected, *actual]) if name]
    return [
        (name, expected.get(name), actual.get(name), _ratio(actual.get(name), expected.get(name))) for name in names
    ]


def changed_keys(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a run's config keys that differ from their defaults, and the others."""
    defaults = dict(leaves(to_dict(Config())))
    held = dict(leaves(dict(config)))
    changed = {key: value for key, value in held.items() if key not in defaults or defaults[key] != value}
    return changed, {key: value for key, value in held.items() if key not in changed}


def _facts(row: Row, steps: Steps) -> dict[str, Any]:
    grounding = row["grounding"] or {}
    latency_s = row["latency_s"]
    return {
        "dataset": row["dataset"],
        "subject": row["subject"],
        "outcome": row["reject_reason"] or Status.accepted.value,
        "passed": sum(1 for _ in itertools.takewhile(lambda passed: passed(row), steps.values())),
        "tokens": sum(
            used["prompt_tokens"] + used["completion_tokens"] + used["replayed_tokens"] for used in row["usage"] or []
        ),
        "latency_ms": None if latency_s is None else round(1000 * latency_s),
        "finished_at": row["finished_at"],
        **{name: grounding.get(name) for name in SCORES},
    }


def _funnel(facts: pa.Table, steps: Steps, manifest: Mapping[str, Any]) -> tuple[Step, ...]:
    beyond = {"beyond run.limit": manifest["beyond_limit"]} if manifest["beyond_limit"] else {}
    dropped = {f"{reason} (dropped)": count for reason, count in manifest["dropped_by_reason"].items() if count}
    funnel = [Step("rows read", manifest["rows_read"], {}), Step("questions", facts.num_rows, dropped | beyond)]
    for number, name in enumerate(steps):
        # What ended here had passed every step before.
        lost = _sum_by(facts.filter(pc.equal(facts["passed"], number)), "outcome")
        funnel.append(Step(name, funnel[-1].rows - sum(lost.values()), _most_first(lost)))
    return tuple(funnel)


def _yields(facts: pa.Table, *further: str) -> Iterator[Yield]:
    accepted = pc.equal(facts["outcome"], Status.accepted)
    grouped = facts.append_column("accepted", accepted).group_by(["dataset", *further])
    for found in grouped.aggregate([([], "count_all"), ("accepted", "sum"), ("tokens", "sum")]).to_pylist():
        subject = found.get("subject") or ""
        yield Yield(found["dataset"], found["count_all"], found["accepted_sum"], found["tokens_sum"], subject)


def _sum_by(facts: pa.Table, key: str, column: str | None = None) -> dict[str, int]:
    """Returns, by the values of ``key``, the sum of ``column``, or the number of rows."""
    wanted: tuple[Any, str] = ([], "count_all") if column is None else (column, "sum")
    found = facts.group_by(key).aggregate([wanted]).to_pylist()
    return {each[key]: each["count_all" if column is None else f"{column}_sum"] for each in found}


def _latency(facts: pa.Table) -> dict[str, Quantiles]:
    known = facts.filter(pc.is_valid(facts["latency_ms"]))
    outcomes = _most_first(_sum_by(known, "outcome"))
    groups = {name: known.filter(pc.equal(known["outcome"], name)) for name in outcomes}
    spread = {name: measure_quantiles(held["latency_ms"].to_numpy()) for name, held in groups.items()}
    return {"all": measure_quantiles(known["latency_ms"].to_numpy())} | spread if spread else {}


def _throughput(facts: pa.Table) -> Throughput | None:
    known = facts.filter(pc.is_valid(facts["finished_at"]))
    if not known.num_rows:
        return None
    times: NDArray[np.int64] = known["finished_at"].cast(pa.int64()).to_numpy()
    accepted = pc.equal(known["outcome"], Status.accepted).to_numpy()
    start, end = int(times.min()), int(times.max())
    edges = np.linspace(start, max(end, start + 1000), BINS + 1)
    first = pc.min(known["finished_at"]).as_py()
    return Throughput(
        start=f"{first:%Y-%m-%d %H:%M:%S} UTC",
        bin_s=float(edges[1] - edges[0]) / 1000,
        finished=np.histogram(times, edges)[0].tolist(),
        accepted=np.histogram(times[accepted], edges)[0].tolist(),
    )


def _scores(facts: pa.Table, name: str) -> Scores | None:
    accepted = facts.filter(pc.equal(facts["outcome"], Status.accepted))
    values: NDArray[np.float32] = accepted[name].drop_null().to_numpy()
    if not len(values):
        return None
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    histogram = np.histogram(np.clip(values, 0, 1), SCORE_EDGES)[0].tolist()
    return Scores(name, len(values), float(values.mean(dtype=np.float64)), (low, middle, high), histogram)


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _stage_order(item: tuple[tuple[str, str, str], int]) -> tuple[int, int]:
    (stage, *_), rows = item
    return [each.value for each in Stage].index(stage), -rows


def _ratio(actual: object, expected: object) -> float | None:
    if isinstance(actual, int | float) and isinstance(expected, int | float) and expected:
        ratio = actual / expected
        return ratio if math.isfinite(ratio) else None
    return None
