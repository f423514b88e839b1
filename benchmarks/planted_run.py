"""A finished run that no engine wrote: rows of the shape, length and variety of real ones, from a seed.

Words come by Zipf's law from a made-up vocabulary, so that they compress about as English does.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice, pairwise
from typing import Any, Final

import pyarrow as pa

from medreason_dist.config import Config, to_dict
from medreason_dist.schemas import TRACES, Dataset, LinkedBy, NodeType, RejectReason, Side, Stage, Status
from medreason_dist.storage import MANIFEST, Folder

START: Final = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SUBJECTS: Final = ("Pharmacology", "Medicine", "Pathology", "Surgery", "Paediatrics", None)
RELATIONS: Final = ("indication", "target", "side effect", "associated with", "ppi", "enzyme | target", "parent-child")
_SYLLABLES: Final = "an ar ba ce di el fi go he in ko li ma ne or pa qui ri so ta um ve xi yl zo".split()
_NODES: Final = 5000
_WORDS: Final = 8000
_REACHED: Final = (
    (RejectReason.no_mentions, 0),
    (RejectReason.no_answer_entity, 1),
    (RejectReason.no_path_within_bound, 2),
    (RejectReason.pruned_all, 3),
    (RejectReason.malformed_trace, 4),
    (RejectReason.leaked_answer, 5),
    (RejectReason.wrong_answer, 6),
    (None, 7),
)
"""How far a question comes, as steps of the report's funnel, and the reason that ends it."""
_WEIGHTS: Final = (2, 14, 8, 2, 4, 4, 22, 44)


class Planter:
    """Writes rows of :data:`~medreason_dist.schemas.TRACES`; the same seed gives the same ones."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._vocabulary = ["".join(self._random.choices(_SYLLABLES, k=1 + n % 4)) for n in range(_WORDS)]
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(_WORDS)))
        self._names = [" ".join(self._words(1 + n % 3)) + f" {n}" for n in range(_NODES)]

    def row(self, number: int) -> dict[str, Any]:
        """Returns one row."""
        chance = self._random
        reason, reached = chance.choices(_REACHED, _WEIGHTS)[0]
        dataset = chance.choice(list(Dataset)[:6])
        question_nodes, answer_node = chance.sample(range(_NODES), 3), chance.randrange(_NODES)
        row: dict[str, Any] = dict.fromkeys(TRACES.names) | {
            "question_id": hashlib.sha256(str(number).encode()).hexdigest()[:32],
            "dataset": dataset,
            "id_in_dataset": str(number),
            "subject": chance.choice(SUBJECTS),
            "question": f"A patient with {', '.join(self._names[n] for n in question_nodes)}: {self._sentences(7)}",
            "context": self._sentences(16) if dataset.startswith("pubmedqa") else None,
            "options": [{"label": label, "text": self._names[chance.randrange(_NODES)]} for label in "ABCD"],
            "answer": self._names[answer_node],
            "answer_label": "A",
            "status": Status.rejected if reason else Status.accepted,
            "reject_reason": reason,
            "reject_detail": f"after {reached} steps: {self._sentences(1)}" if reason else None,
            "candidate_path_count": 0,
            "usage": self._usage(reached),
            "prompts": [{"stage": s, "version": "1", "sha256": hashlib.sha256(s.encode()).hexdigest()} for s in Stage],
            "model": "planted/model",
            "judge_model": "planted/judge",
            "attempts": int(reached > 3),
            "latency_s": chance.lognormvariate(2, 0.5),
            "finished_at": START + timedelta(milliseconds=120 * number),
        }
        row["options"][0]["text"] = row["answer"]
        if reached > 0:
            row["mentions"] = [
                *(self._mention(node, Side.question) for node in question_nodes),
                self._mention(answer_node, Side.answer),
            ]
            row["question_entities"] = [self._entity(node) for node in question_nodes]
        if reached > 1:
            row["answer_entities"] = [self._entity(answer_node)]
        if reached > 2:
            row["candidate_path_count"] = chance.randrange(3, 400)
        if reached > 3:
            row["paths"] = [
                self._path(source, answer_node, rank)
                for source in question_nodes
                for rank in range(1, chance.randint(2, 4))
            ]
        if reached > 4:
            row["reasoning"], row["grounding"] = self._reason(row["paths"])
            row["conclusion"] = self._sentences(1)
        if reached > 5:
            row["answer_from_reasoning"] = "B" if reason else "A"
            row["judge"] = {"verdict": "incorrect" if reason else "correct", "by": "option_match"}
        return row

    def _words(self, count: int) -> list[str]:
        return self._random.choices(self._vocabulary, cum_weights=self._weights, k=count)

    def _sentences(self, count: int) -> str:
        return " ".join(" ".join(self._words(16)).capitalize() + "." for _ in range(count))

    def _mention(self, node: int, side: Side) -> dict[str, Any]:
        return {"text": self._names[node], "side": side, "type": NodeType.disease, "found_by": "gazetteer"}

    def _entity(self, node: int) -> dict[str, Any]:
        how = self._random.choice(list(LinkedBy))
        mention = {"mention": self._names[node], "score": self._random.uniform(0.7, 1), "linked_by": how}
        return {"node_index": node, "name": self._names[node], "type": NodeType.disease} | mention

    def _path(self, source: int, target: int, rank: int) -> dict[str, Any]:
        # Few nodes are hubs, on the paths of many.
        inner = [int(_NODES * self._random.random() ** 4) for _ in range(self._random.choice((0, 1, 1, 2, 3)))]
        nodes = list(dict.fromkeys([source, *(node for node in inner if node != target), target]))
        return {
            "nodes": nodes,
            "names": [self._names[node] for node in nodes],
            "relations": self._random.choices(RELATIONS, k=len(nodes) - 1),
            "rank": rank,
            "reason": self._random.choice(("chosen by the engine", "no more candidates")),
        }

    def _reason(self, paths: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
        text, named, steps = "", [], []
        for path in paths:
            start = len(text)
            claims = []
            for (src, dst), relations in zip(pairwise(path["nodes"]), path["relations"], strict=True):
                supported = self._random.random() < 0.8
                claims.append(
                    {"src": src, "dst": dst, "relations": relations if supported else None, "on_path": supported}
                )
            for node, name in zip(path["nodes"], path["names"], strict=True):
                text += " ".join(self._words(9)) + " "
                place = {"start": len(text), "end": len(text) + len(name)}
                named.append({"node_index": node, "name": name, **place, "on_path": self._random.random() < 0.9})
                text += f"{name} "
            text = f"{text.rstrip()}. "
            steps.append({"start": start, "end": len(text) - 1, "claims": claims})
        scores = {name: self._random.betavariate(4, 2) for name in ("coverage", "support", "off_path")}
        counts = {"path_nodes": len(named), "path_nodes_named": len(named), "path_edges": 9, "path_edges_used": 6}
        return text.rstrip(), counts | scores | {"named": named, "steps": steps}

    def _usage(self, reached: int) -> list[dict[str, Any]]:
        stages = list(Stage)[: max(1, min(reached, 5))]
        return [
            {
                "stage": stage,
                "requests": 1,
                "prompt_tokens": self._random.randrange(200, 900),
                "completion_tokens": self._random.randrange(2, 400),
                "replayed_tokens": 0,
            }
            for stage in stages
        ]


def plant_run(run: Folder, rows: int, shard_questions: int = 64, seed: int = 0) -> None:
    """Writes a finished run of so many rows."""
    planter = Planter(seed)
    write_run(run, (planter.row(number) for number in range(rows)), shard_questions)


def write_run(run: Folder, rows: Iterator[dict[str, Any]], shard_questions: int = 64, **manifest: Any) -> None:
    """Writes traces and the manifest that they add up to; ``manifest`` has further keys of it."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    datasets: Counter[str] = Counter()
    stages: dict[str, Counter[str]] = {}
    shards = 0
    while shard := list(islice(rows, shard_questions)):
        run.write_table(f"traces/shard={shards:05d}.parquet", pa.Table.from_pylist(shard, TRACES))
        shards += 1
        for row in shard:
            statuses[row["status"]] += 1
            datasets[row["dataset"]] += 1
            reasons.update([row["reject_reason"]] if row["reject_reason"] else [])
            for used in row["usage"] or []:
                stages.setdefault(used["stage"], Counter()).update({k: v for k, v in used.items() if k != "stage"})
    total = sum(stages.values(), Counter())
    usage = {key: total[key] for key in ("requests", "prompt_tokens", "completion_tokens", "replayed_tokens")}
    tokens = sum(count for key, count in usage.items() if key != "requests")
    accepted, questions = statuses[Status.accepted], statuses.total()
    counts = {"rows_read": questions + 12, "dropped": 12, "dropped_by_reason": {"contaminated": 10, "duplicate": 2}}
    by_source = {
        name: {"rows_read": count, "dropped": 0, "dropped_by_reason": {}, "beyond_limit": 0, "questions": count}
        for name, count in datasets.items()
    }
    run.write_json(
        MANIFEST,
        {
            **counts,
            "beyond_limit": 0,
            "questions": questions,
            "by_source": by_source,
            "accepted": accepted,
            "rejected": statuses[Status.rejected],
            "rejected_by_reason": dict(reasons),
            "shards": shards,
            "usage": {
                **usage,
                "tokens_per_accepted": round(tokens / accepted, 1) if accepted else None,
                "by_stage": {stage: {key: stages[stage][key] for key in usage} for stage in Stage if stage in stages},
            },
            "wall_s": 0.12 * questions,
            "config": to_dict(Config()),
            "fingerprints": {"config": "0" * 64},
            "versions": {"medreason_dist": "planted"},
            **manifest,
        },
    )
