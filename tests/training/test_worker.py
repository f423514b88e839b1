"""The trainer of a worker: packed chats do not see each other, and the assistant's part alone has a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medreason_dist.config import Config
from medreason_dist.errors import ModelError
from medreason_dist.storage import Folder
from medreason_dist.training.chats import open_material
from medreason_dist.training.plan import write_sequences
from tests.engines.smol import WARNINGS
from tests.training.conftest import MakeConfig
from tests.training.planted import plant

pytestmark = [pytest.mark.model, pytest.mark.slow, *WARNINGS]


def build(config: Config, folder: Path) -> Any:
    from medreason_dist.training.worker import build_trainer

    run = Folder(config.finetune.uri)
    write_sequences(config, run, open_material(config.finetune, config.storage))
    return build_trainer(config, run, folder, lambda row: None, resumes=False)


def lengths(batch: Any) -> list[int]:
    """Returns the lengths of a batch's packed chats."""
    (positions,) = batch["position_ids"]
    starts = [place for place, position in enumerate(positions.tolist()) if position == 0]
    return [end - start for start, end in zip(starts, [*starts[1:], len(positions)], strict=True)]


def test_a_packed_chat_has_the_loss_that_it_has_alone(make_config: MakeConfig, tmp_path: Path) -> None:
    import torch

    trainer = build(make_config("finetune.bf16=false"), tmp_path / "local")
    batch = next(iter(trainer.get_train_dataloader()))
    assert len(lengths(batch)) > 1 and sum(lengths(batch)) <= 256
    model = trainer.model.eval().requires_grad_(False)
    packed = model(**{**batch, "labels": None}).logits[0]
    start = 0
    for length in lengths(batch):
        ids = batch["input_ids"][:, start : start + length]
        alone = model(input_ids=ids).logits[0]
        torch.testing.assert_close(packed[start : start + length], alone, rtol=1e-4, atol=1e-5)
        start += length


def test_a_packed_chat_does_not_see_the_one_before(make_config: MakeConfig, tmp_path: Path) -> None:
    import torch

    trainer = build(make_config("finetune.bf16=false"), tmp_path / "local")
    batch = next(iter(trainer.get_train_dataloader()))
    first = lengths(batch)[0]
    model = trainer.model.eval().requires_grad_(False)
    before = model(**{**batch, "labels": None}).logits[0]
    changed = batch["input_ids"].clone()
    changed[0, : first - 1] += 1
    after = model(**{**batch, "input_ids": changed, "labels": None}).logits[0]
    assert not torch.equal(before[:first], after[:first])
    assert torch.equal(before[first:], after[first:])


def test_the_loss_is_of_the_assistants_part_alone(make_config: MakeConfig, tmp_path: Path) -> None:
    trainer = build(make_config(), tmp_path / "local")
    labels, learned = 0, 0
    for batch in trainer.get_train_dataloader():
        (ids,), (wanted,) = batch["input_ids"], batch["labels"]
        text = trainer.processing_class.decode(ids[wanted != -100])
        assert "Which drug" not in text and text.count("Answer: A. Drug") == len(lengths(batch))
        assert text.count("<|im_end|>") == len(lengths(batch))
        labels += int((wanted != -100).sum())
    table = Folder(make_config().finetune.uri).read_table("sequences/train.parquet")
    learned = sum(map(sum, table["completion_mask"].to_pylist()))
    assert labels == learned


def test_a_held_out_split_without_chats_is_left_out(make_config: MakeConfig, tmp_path: Path) -> None:
    dataset = plant(tmp_path / "train_alone", numbers=[1, 2, 3, 4, 5])
    trainer = build(make_config(f"finetune.dataset={dataset}"), tmp_path / "local")
    assert trainer.eval_dataset is None and trainer.args.eval_strategy == "no"


def test_every_chat_is_trained_on_once_an_epoch(make_config: MakeConfig, tmp_path: Path) -> None:
    trainer = build(make_config(), tmp_path / "local")
    seen = [chat for batch in trainer.get_train_dataloader() for chat in batch["input_ids"][0].split(lengths(batch))]
    table = Folder(make_config().finetune.uri).read_table("sequences/train.parquet")
    assert sorted(chat.tolist() for chat in seen) == sorted(table["input_ids"].to_pylist())


def test_trained_weights_are_float32_and_with_lora_the_others_bfloat16(make_config: MakeConfig, tmp_path: Path) -> None:
    import torch

    whole = build(make_config(), tmp_path / "whole").model
    assert {weight.dtype for weight in whole.parameters()} == {torch.float32}
    adapted = build(make_config("finetune.lora_rank=4"), tmp_path / "lora").model
    dtypes = {weight.requires_grad: weight.dtype for weight in adapted.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}


def test_the_papers_settings_reach_the_trainer(make_config: MakeConfig, tmp_path: Path) -> None:
    from medreason_dist.training.worker import training_arguments

    config = make_config("finetune.max_steps=-1", "finetune.training_args={optim: sgd, neftune_noise_alpha: 5}")
    arguments = training_arguments(config, tmp_path, evaluates=True, resumes=False)
    assert (arguments.weight_decay, arguments.warmup_steps, arguments.lr_scheduler_type) == (0.1, 0.05, "cosine")
    assert (arguments.num_train_epochs, arguments.bf16, arguments.gradient_checkpointing) == (3.0, True, True)
    assert (arguments.optim, arguments.neftune_noise_alpha) == ("sgd", 5)


def test_arguments_that_a_model_does_not_take_are_told(make_config: MakeConfig) -> None:
    from medreason_dist.training.worker import load_model

    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(make_config("finetune.model_args={attn_implementation: none_such}").finetune)
