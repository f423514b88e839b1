"""What a model learns of a published dataset, and which datasets it may not learn from."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from medreason_dist.config import FinetuneConfig, StorageConfig, Target
from medreason_dist.errors import RunError
from medreason_dist.schemas import CHAT
from medreason_dist.storage import Folder
from medreason_dist.training.chats import Material, open_material
from tests.training.planted import plant


def open_planted(dataset: str, target: Target = Target.medreason, *others: str, allowed: bool = False) -> Material:
    config = FinetuneConfig(dataset=dataset, target=target, questions_of=list(others), allow_undecontaminated=allowed)
    return open_material(config, StorageConfig())


def answers(material: Material, split: str = "train") -> list[str]:
    return [messages[-1].content for messages in material.read(split)[0].values()]


def test_the_target_decides_what_the_assistant_says(tmp_path: Path) -> None:
    ours, plain = plant(tmp_path / "ours"), plant(tmp_path / "plain", method="plain_cot")
    reasoned = "Drug 1 —[indication]→ disease 1. So it is given for it, by {}.\n\nAnswer: A. Drug 1"
    assert answers(open_planted(ours))[0] == reasoned.format("medreason")
    assert answers(open_planted(plain, Target.plain_cot))[0] == reasoned.format("plain_cot")
    for dataset in (ours, plain):
        assert answers(open_planted(dataset, Target.answer_only))[0] == "Answer: A. Drug 1"


def test_all_rows_of_a_split_are_there_and_the_question_is_the_users(tmp_path: Path) -> None:
    material = open_planted(plant(tmp_path / "ours"))
    chats, left_out = material.read("train")
    assert (len(chats), left_out) == (20, 0) and len(material.read("validation")[0]) == 4
    first = next(iter(chats.values()))
    assert [message.role for message in first] == ["user", "assistant"]
    assert first[0].content == "Which drug treats disease 1?\n\nA. Drug 1\nB. Nothing"


def test_only_questions_that_all_datasets_have_are_learned(tmp_path: Path) -> None:
    ours = plant(tmp_path / "ours")
    other = plant(tmp_path / "other", method="plain_cot", numbers=range(5, 40))
    third = plant(tmp_path / "third", method="plain_cot", numbers=range(11))
    material = open_planted(ours, Target.medreason, other, third)
    chats, left_out = material.read("train")
    assert [int(question_id, 16) for question_id in chats] == [5, 7, 8, 9, 10] and left_out == 15
    assert material.fingerprints != open_planted(ours, Target.medreason, other).fingerprints


def test_a_dataset_that_was_compared_with_no_benchmark_is_refused_unless_allowed(tmp_path: Path) -> None:
    dataset = plant(tmp_path / "ours", benchmarks=())
    with pytest.raises(RunError, match="compared with no benchmark, as its card says") as caught:
        open_planted(dataset)
    assert "finetune.allow_undecontaminated=true" in str(caught.value)
    assert answers(open_planted(dataset, allowed=True))


@pytest.mark.parametrize(("method", "target"), [("medreason", Target.plain_cot), ("plain_cot", Target.medreason)])
def test_a_target_of_another_method_is_refused(tmp_path: Path, method: str, target: Target) -> None:
    dataset = plant(tmp_path / "ours", method=method)
    with pytest.raises(RunError, match=rf"run.method={method}, which is not finetune.target={target}"):
        open_planted(dataset, target)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    material = open_planted(plant(tmp_path / "ours"))
    name = "chat/train-00000.parquet"
    rows = material.dataset.folder.read_table(name).to_pylist()
    rows[0]["messages"][1]["content"] = "Answer: B"
    material.dataset.folder.write_table(name, pa.Table.from_pylist(rows, CHAT))
    with pytest.raises(RunError, match="not the one that was published"):
        material.read("train")


def test_no_dataset_and_no_split_are_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no published dataset"):
        open_planted(str(tmp_path / "none"))
    Folder(str(tmp_path / "run")).write_json("_manifest.json", {"questions": 3})
    with pytest.raises(RunError, match="something other than a published dataset"):
        open_planted(str(tmp_path / "run"))
    with pytest.raises(RunError, match="no split 'test': it has train, validation"):
        open_planted(plant(tmp_path / "ours")).read("test")
