"""The on-disk contract: names that readers outside the project rely on, closed lists, fingerprints."""

from __future__ import annotations

import pyarrow as pa

from medreason_dist import schemas
from medreason_dist.schemas import Dataset, DropReason, NodeType, RejectReason, Status, schema_fingerprint


def test_trace_columns_of_the_design() -> None:
    needed = (
        "question_id dataset id_in_dataset question options answer answer_label status reject_reason reject_detail "
        "mentions question_entities answer_entities candidate_path_count paths reasoning conclusion "
        "answer_from_reasoning judge grounding usage prompts model judge_model attempts latency_s finished_at"
    ).split()
    assert not set(needed) - set(schemas.TRACES.names)


def test_question_columns_are_carried_into_traces() -> None:
    shared = set(schemas.QUESTIONS.names) & set(schemas.TRACES.names)
    assert {"question_id", "dataset", "id_in_dataset", "question", "options", "answer", "answer_label"} <= shared
    for name in shared:
        assert schemas.QUESTIONS.field(name).type == schemas.TRACES.field(name).type


def test_closed_lists_of_the_design() -> None:
    assert set(RejectReason) == set(
        (
            "no_mentions no_answer_entity no_question_entity no_path_within_bound pruned_all malformed_trace "
            "leaked_answer truncated wrong_answer judge_rejected too_long engine_error"
        ).split()
    )
    assert set(DropReason) == {"invalid_input", "duplicate", "near_duplicate", "contaminated"}
    assert set(Status) == {"accepted", "rejected"}
    assert list(Dataset) == (
        "medqa medmcqa pubmedqa pubmedqa_artificial pubmedqa_unlabeled mmlu medxpertqa huatuo hle".split()
    )
    assert len(NodeType) == 10


def test_paths_and_entities_hold_the_structs_of_the_design() -> None:
    paths = schemas.TRACES.field("paths").type.value_type
    assert [field.name for field in paths] == ["nodes", "names", "relations", "rank", "reason"]
    entities = schemas.ENTITIES.value_type
    assert [field.name for field in entities] == ["node_index", "name", "type", "mention", "score", "linked_by"]


def test_fingerprint_follows_names_and_types() -> None:
    one = pa.schema({"a": pa.int32(), "b": pa.string()})
    assert schema_fingerprint(one) == schema_fingerprint(pa.schema([("a", pa.int32()), ("b", pa.string())]))
    others = [{"a": pa.int64(), "b": pa.string()}, {"a": pa.int32(), "c": pa.string()}, {"b": pa.string()}]
    assert schema_fingerprint(one) not in {schema_fingerprint(pa.schema(other)) for other in others}
    assert len(schema_fingerprint(one)) == 16


def test_embeddings_are_vectors_of_one_length() -> None:
    schema = schemas.embeddings(384)
    assert tuple(schema.names) == schemas.EMBEDDINGS_COLUMNS
    assert schema.field("embedding").type == pa.list_(pa.float16(), 384)
