"""What lies on disk: one pyarrow schema a dataset, and the closed lists that its columns draw from.

A folder with a ``_manifest.json`` is finished; readers refuse one without. Node and relation names are PrimeKG's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import pyarrow as pa

from medreason_dist.ids import fingerprint


class Dataset(StrEnum):
    """The question sources. Their order decides which of two identical rows is kept."""

    medqa = "medqa"
    medmcqa = "medmcqa"
    pubmedqa = "pubmedqa"
    pubmedqa_artificial = "pubmedqa_artificial"
    pubmedqa_unlabeled = "pubmedqa_unlabeled"
    mmlu = "mmlu"
    medxpertqa = "medxpertqa"
    huatuo = "huatuo"
    hle = "hle"


class Benchmark(StrEnum):
    """What a model can be evaluated on."""

    medqa = "medqa"
    medmcqa = "medmcqa"
    mmlu = "mmlu"
    pubmedqa = "pubmedqa"
    medbullets_op4 = "medbullets_op4"
    medbullets_op5 = "medbullets_op5"
    medxpertqa = "medxpertqa"
    hle = "hle"


class NodeType(StrEnum):
    """PrimeKG's ten node types."""

    anatomy = "anatomy"
    biological_process = "biological_process"
    cellular_component = "cellular_component"
    disease = "disease"
    drug = "drug"
    phenotype = "effect/phenotype"
    exposure = "exposure"
    protein = "gene/protein"
    molecular_function = "molecular_function"
    pathway = "pathway"


class Status(StrEnum):
    """What became of a question."""

    accepted = "accepted"
    rejected = "rejected"


class Side(StrEnum):
    """Where a mention stands."""

    question = "question"
    answer = "answer"


class Stage(StrEnum):
    """The requests of one question, in the order of the program."""

    extract = "extract"
    link = "link"
    prune = "prune"
    trace = "trace"
    answer = "answer"
    judge = "judge"
    evaluate = "evaluate"
    """The one request of an evaluation, which is another program."""


class RejectReason(StrEnum):
    """Why a question was rejected: a closed list, in the order of the program's stages."""

    too_long = "too_long"
    """A prompt would not fit the model's context."""
    engine_error = "engine_error"
    """A request still failed after its retries."""
    no_mentions = "no_mentions"
    """Neither the gazetteer nor the engine found an entity in question or answer."""
    no_question_entity = "no_question_entity"
    """No mention of the question could be linked to a node."""
    no_answer_entity = "no_answer_entity"
    """No mention of the answer could be linked to a node."""
    no_path_within_bound = "no_path_within_bound"
    """No question entity and answer entity are within twice the neighborhoods' radius."""
    pruned_all = "pruned_all"
    """The engine kept none of the candidate paths."""
    malformed_trace = "malformed_trace"
    """The completion does not have the sections of a trace."""
    truncated = "truncated"
    """The completion ended by its token limit."""
    leaked_answer = "leaked_answer"
    """Without its answer statements the reasoning has nothing left to answer from."""
    wrong_answer = "wrong_answer"
    """The answer given from the reasoning alone is not the right one."""
    judge_rejected = "judge_rejected"
    """The judge did not accept the answer given from the reasoning alone."""


class DropReason(StrEnum):
    """Why a row of a source did not become a question: a closed list."""

    invalid_input = "invalid_input"
    """A field is missing, of a wrong type or out of range; the detail names it."""
    duplicate = "duplicate"
    """Another row has the same content id; the detail names the first that has it."""
    near_duplicate = "near_duplicate"
    """Another question has nearly the same words and the same answer; the detail names the row that is kept."""
    contaminated = "contaminated"
    """A benchmark has the question; the detail names its row, the method that found it and the measured value."""


class LeftOut(StrEnum):
    """Why a row of a benchmark is not asked: a closed list."""

    open = "open"
    """It has no options: neither scorer can score it."""
    image = "image"
    """It needs an image."""
    other_field = "other_field"
    """HLE's row is of another category than Biology/Medicine."""
    invalid = "invalid"
    """It is not fit to be asked, and ``evaluate.invalid_limit`` lets it be left out."""


class Asked(StrEnum):
    """What became of a benchmark's question."""

    answered = "answered"
    """Every sample has its completion."""
    failed = "failed"
    """A sample has an error in its place."""


class NoAnswer(StrEnum):
    """Why the strict scorer finds no label in a completion: a closed list."""

    none_stated = "none_stated"
    """Nothing in it states an answer."""
    truncated = "truncated"
    """It ended by its token limit before an answer was stated on a line of its own."""
    several = "several"
    """Its last statement names several options of which one is right."""
    contradicts = "contradicts"
    """Its last statement names one option by its letter and another by its text."""
    not_an_option = "not_an_option"
    """Its last statement names none of the options."""


class FoundBy(StrEnum):
    """How the MedReason authors' scorer found a label."""

    letter = "letter"
    """By a letter in the text."""
    text = "text"
    """By options' texts in the text."""
    similarity = "similarity"
    """As the option whose text is most like the whole text."""


class LinkedBy(StrEnum):
    """How a mention became an entity."""

    exact = "exact"
    """The mention is a node's name."""
    alias = "alias"
    """The mention and a node's name have the same :func:`~medreason_dist.reasoning.mentions.normal_form`."""
    embedding = "embedding"
    """The nearest name embedding, above ``linking.certain_score``."""
    engine = "engine"
    """The engine chose among candidates."""


# Graph ---------------------------------------------------------------------------------------------------------------

NODES: Final = pa.schema(
    {
        "node_index": pa.int32(),
        "node_id": pa.string(),
        "node_type": pa.string(),
        "node_name": pa.string(),
        "node_source": pa.string(),
        "degree": pa.int32(),
    }
)
"""Sorted by node_index. ``degree`` counts distinct neighbors."""

EDGES: Final = pa.schema(
    {"src": pa.int32(), "dst": pa.int32(), "relation": pa.string(), "display_relation": pa.string()}
)
"""Both directions, sorted by all four columns, no self loops, no duplicates."""

NEIGHBORHOODS: Final = pa.schema(
    {"seed": pa.int32(), "hop": pa.int8(), "nodes": pa.list_(pa.int32()), "relations": pa.list_(pa.int16())}
)
"""In folders ``bucket=<n>/``. ``nodes`` holds, sorted, the nodes whose shortest distance to ``seed`` is ``hop`` (from
1 up). At hop 1 ``relations`` is as long as ``nodes`` and holds indexes into the manifest's ``relation_sets``; null
beyond.
"""

WRONG_ROWS: Final = pa.schema({"line": pa.int64(), "column": pa.string(), "detail": pa.string(), "row": pa.string()})
"""The rows of the csv that were left out, as ``graph.wrong_rows_limit`` allows. ``line`` counts from 1, the header's;
``column`` is empty where the row as a whole is wrong; ``row`` holds the values as read.
"""

EMBEDDINGS_COLUMNS: Final = ("node_index", "embedding")


def embeddings(dimension: int) -> pa.Schema:
    """Returns the schema of node name embeddings: unit vectors of ``dimension`` float16."""
    return pa.schema({"node_index": pa.int32(), "embedding": pa.list_(pa.float16(), dimension)})


# Questions -----------------------------------------------------------------------------------------------------------

OPTIONS: Final = pa.list_(pa.struct({"label": pa.string(), "text": pa.string()}))

QUESTIONS: Final = pa.schema(
    {
        "question_id": pa.string(),
        "dataset": pa.string(),
        "row_in_dataset": pa.int64(),
        "id_in_dataset": pa.string(),
        "subject": pa.string(),
        "question": pa.string(),
        "context": pa.string(),
        "options": OPTIONS,
        "answer": pa.string(),
        "answer_label": pa.string(),
        "answer_context": pa.string(),
    }
)
"""Sorted by question_id. ``row_in_dataset`` counts from 0 over the source's files in name order. ``id_in_dataset`` is
the source's own id, or the row number. ``context`` is PubMedQA's abstract. ``options`` is empty for an open question;
``answer_label`` then is null, and holds several labels joined by a comma where several are right. ``answer_context`` is
text that explains the answer and names its entities where the answer itself (yes, no, maybe) names none.
"""

DROPPED: Final = pa.schema(
    {
        "dataset": pa.string(),
        "row_in_dataset": pa.int64(),
        "drop_reason": pa.string(),
        "detail": pa.string(),
        "row": pa.string(),
    }
)
"""``row`` is the row as read, as JSON (or as text where it was not JSON)."""

# Traces --------------------------------------------------------------------------------------------------------------

ENTITIES: Final = pa.list_(
    pa.struct(
        {
            "node_index": pa.int32(),
            "name": pa.string(),
            "type": pa.string(),
            "mention": pa.string(),
            "score": pa.float32(),
            "linked_by": pa.string(),
        }
    )
)

GROUNDING: Final = pa.struct(
    {
        "path_nodes": pa.int32(),
        "path_nodes_named": pa.int32(),
        "path_edges": pa.int32(),
        "path_edges_used": pa.int32(),
        "claims": pa.int32(),
        "claims_supported": pa.int32(),
        "claims_on_path": pa.int32(),
        "entities_named": pa.int32(),
        "entities_off_path": pa.int32(),
        "coverage": pa.float32(),
        "support": pa.float32(),
        "off_path": pa.float32(),
        "named": pa.list_(
            pa.struct(
                {
                    "node_index": pa.int32(),
                    "name": pa.string(),
                    "start": pa.int32(),
                    "end": pa.int32(),
                    "on_path": pa.bool_(),
                }
            )
        ),
        "steps": pa.list_(
            pa.struct(
                {
                    "start": pa.int32(),
                    "end": pa.int32(),
                    "claims": pa.list_(
                        pa.struct(
                            {"src": pa.int32(), "dst": pa.int32(), "relations": pa.string(), "on_path": pa.bool_()}
                        )
                    ),
                }
            )
        ),
    }
)
"""What of ``reasoning`` stands on the graph (``docs/grounding.md``). ``start`` and ``end`` are offsets into it in code
points. The scores ``coverage``, ``support`` and ``off_path`` are null where nothing is there to divide by; a claim's
``relations`` are null where the graph has no edge between its ends.
"""

TRACES: Final = pa.schema(
    {
        "question_id": pa.string(),
        "dataset": pa.string(),
        "id_in_dataset": pa.string(),
        "subject": pa.string(),
        "question": pa.string(),
        "context": pa.string(),
        "options": OPTIONS,
        "answer": pa.string(),
        "answer_label": pa.string(),
        "status": pa.string(),
        "reject_reason": pa.string(),
        "reject_detail": pa.string(),
        "mentions": pa.list_(
            pa.struct({"text": pa.string(), "side": pa.string(), "type": pa.string(), "found_by": pa.string()})
        ),
        "question_entities": ENTITIES,
        "answer_entities": ENTITIES,
        "candidate_path_count": pa.int64(),
        "paths": pa.list_(
            pa.struct(
                {
                    "nodes": pa.list_(pa.int32()),
                    "names": pa.list_(pa.string()),
                    "relations": pa.list_(pa.string()),
                    "rank": pa.int32(),
                    "reason": pa.string(),
                }
            )
        ),
        "reasoning": pa.string(),
        "conclusion": pa.string(),
        "answer_from_reasoning": pa.string(),
        "judge": pa.struct({"verdict": pa.string(), "by": pa.string()}),
        "grounding": GROUNDING,
        "usage": pa.list_(
            pa.struct(
                {
                    "stage": pa.string(),
                    "requests": pa.int32(),
                    "prompt_tokens": pa.int64(),
                    "completion_tokens": pa.int64(),
                    "replayed_tokens": pa.int64(),
                }
            )
        ),
        "prompts": pa.list_(pa.struct({"stage": pa.string(), "version": pa.string(), "sha256": pa.string()})),
        "model": pa.string(),
        "judge_model": pa.string(),
        "attempts": pa.int32(),
        "latency_s": pa.float64(),
        "finished_at": pa.timestamp("ms", "UTC"),
    }
)
"""One row for every question of the shard, in question_id order. A rejected row holds what was found up to its exit.

``candidate_path_count`` is the number of shortest paths that exist, which may exceed the number that was offered to the
engine. In ``paths``, ``relations`` has one entry a hop (several between the same two nodes joined by `` | ``), ``rank``
counts from 1 within its entity pair, and ``reason`` says why the path was kept. ``judge.by`` is ``option_match`` or the
judge's model. In ``usage``, ``replayed_tokens`` are prompt and completion tokens that an earlier start of the run had
spent, and the other two those that this one spent. ``finished_at`` is when the question got its
verdict.
"""


# Evaluation ----------------------------------------------------------------------------------------------------------

PREDICTIONS: Final = pa.schema(
    {
        "question_id": pa.string(),
        "benchmark": pa.string(),
        "row_in_dataset": pa.int64(),
        "id_in_dataset": pa.string(),
        "subject": pa.string(),
        "question": pa.string(),
        "options": OPTIONS,
        "answer": pa.string(),
        "answer_label": pa.string(),
        "status": pa.string(),
        "samples": pa.list_(
            pa.struct(
                {
                    "text": pa.string(),
                    "finish_reason": pa.string(),
                    "strict_label": pa.string(),
                    "strict_fault": pa.string(),
                    "strict_correct": pa.bool_(),
                    "authors_first": pa.string(),
                    "authors_last": pa.string(),
                    "authors_by": pa.string(),
                    "authors_first_correct": pa.bool_(),
                    "authors_last_correct": pa.bool_(),
                    "error": pa.string(),
                    "error_detail": pa.string(),
                    "prompt_tokens": pa.int64(),
                    "completion_tokens": pa.int64(),
                    "replayed_tokens": pa.int64(),
                }
            )
        ),
        "prompt": pa.struct({"name": pa.string(), "version": pa.string(), "sha256": pa.string()}),
        "usage": TRACES.field("usage").type,
        "model": pa.string(),
        "latency_s": pa.float64(),
        "finished_at": pa.timestamp("ms", "UTC"),
    }
)
"""One row for every question of an evaluation's shard, in question_id order; the questions are :data:`QUESTIONS`, whose
``dataset`` holds the benchmark. ``samples`` are ``evaluate.samples`` completions, each with what either scorer makes of
it. ``strict_label`` is null where ``strict_fault`` says why (:class:`NoAnswer`); ``authors_first`` and ``authors_last``
are null for a completion without text. One whose request failed has an ``error`` (``too_long``, ``engine_error``) and no
text, and counts as wrong.
"""

COMPLETIONS: Final = pa.schema(
    {
        "key": pa.string(),
        "stage": pa.string(),
        "text": pa.string(),
        "finish_reason": pa.string(),
        "prompt_tokens": pa.int64(),
        "completion_tokens": pa.int64(),
        "max_tokens": pa.int64(),
    }
)
"""Finished completions of a shard. ``key`` identifies the request but for its token limit, which is ``max_tokens``."""

# The published dataset -----------------------------------------------------------------------------------------------

RELEASED_OPTIONS: Final = "Answer Choices:\n"
"""What the options of a published row begin with, as the released MedReason's do."""

PUBLISHED: Final = pa.schema(
    {
        "dataset_name": pa.string(),
        "id_in_dataset": pa.string(),
        "question": pa.string(),
        "answer": pa.string(),
        "reasoning": pa.string(),
        "options": pa.string(),
        "question_id": pa.string(),
        "subject": pa.string(),
        "context": pa.string(),
        "answer_label": pa.string(),
        "conclusion": pa.string(),
        "answer_from_reasoning": pa.string(),
        "judged_by": pa.string(),
        "question_entities": ENTITIES,
        "answer_entities": ENTITIES,
        "paths": pa.list_(pa.string()),
        "coverage": pa.float32(),
        "support": pa.float32(),
        "off_path": pa.float32(),
        "usage": TRACES.field("usage").type,
        "prompts": TRACES.field("prompts").type,
        "model": pa.string(),
        "judge_model": pa.string(),
        "attempts": pa.int32(),
        "run": pa.string(),
    }
)
"""One row for every accepted question. The first six columns are those of the released MedReason; ``options`` is text as
there (``Answer Choices:``, a line for each), empty for an open question. ``paths`` are text, ``coverage``, ``support`` and
``off_path`` those of :data:`GROUNDING`. ``run`` identifies the config and the graph that the row comes from. The other
columns are as in :data:`TRACES`.
"""

CHAT: Final = pa.schema(
    {
        "question_id": pa.string(),
        "dataset_name": pa.string(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
    }
)
"""The same rows as conversations: an optional system message, the question, the reasoning with the answer after it."""


def schema_fingerprint(schema: pa.Schema) -> str:
    """Returns a digest (16 hex digits) of a schema's field names and types, for manifests."""
    return fingerprint([[field.name, str(field.type)] for field in schema])[:16]
