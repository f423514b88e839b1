"""What each worker does: TRL's SFTTrainer on the sequences, checkpoints to storage, resume from the last one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import datasets
import ray.train
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from medreason_dist.config import Config, FinetuneConfig
from medreason_dist.errors import ModelError
from medreason_dist.storage import Folder
from medreason_dist.training.model import write_model
from medreason_dist.training.sequences import SEQUENCES, load_tokenizer, with_local_model

Tell = Callable[[dict[str, Any]], object]
"""Takes a row of metrics, ``step`` among them."""

HISTORY: Final = "history.json"


def train(config: Config, tell: Tell) -> None:
    """Trains, from the last checkpoint where there is one, and writes ``model/`` and ``history.json``; one call a worker.

    ``tell`` is called by the first worker alone. Raises :class:`ModelError` for a model that cannot be loaded.
    """
    config = replace(config, finetune=with_local_model(config))
    finetune, run = config.finetune, Folder(config.finetune.uri, config.storage)
    checkpoint = ray.train.get_checkpoint()
    with tempfile.TemporaryDirectory() as local:
        trainer = build_trainer(config, run, Path(local), tell, resumes=checkpoint is not None)
        if checkpoint is None:
            trainer.train()
        else:
            with checkpoint.as_directory() as folder:
                trainer.train(resume_from_checkpoint=folder)
        if trainer.eval_dataset is not None and "eval_loss" not in _last_row(trainer.state):
            trainer.evaluate()
        write_model(trainer, finetune, run)
        if trainer.is_world_process_zero():
            run.write_json(HISTORY, trainer.state.log_history)


def build_trainer(config: Config, run: Folder, local: Path, tell: Tell, *, resumes: bool) -> SFTTrainer:
    """Returns the trainer of this worker, whose checkpoints pass through the folder ``local``."""
    finetune = config.finetune
    train_set, eval_set = (_read_sequences(run, split) for split in (finetune.train_split, finetune.eval_split))
    arguments = training_arguments(config, local, evaluates=eval_set is not None, resumes=resumes)
    lora = (
        LoraConfig(
            r=finetune.lora_rank,
            lora_alpha=finetune.lora_alpha,
            lora_dropout=finetune.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        if finetune.lora_rank
        else None
    )
    trainer = SFTTrainer(
        model=load_model(finetune),
        args=arguments,
        train_dataset=train_set,
        eval_dataset=eval_set,
        processing_class=load_tokenizer(finetune),
        peft_config=lora,
    )
    trainer.add_callback(Report(len(trainer.train_dataset), tell))
    return trainer


def load_model(config: FinetuneConfig) -> Any:
    """Returns the model to start from: in float32, as updates of a small learning rate vanish in bfloat16's rounding; with
    LoRA in bfloat16, as its weights are not trained."""
    arguments = {"dtype": torch.bfloat16 if config.lora_rank and config.bf16 else torch.float32, **config.model_args}
    try:
        return AutoModelForCausalLM.from_pretrained(
            config.model, revision=config.revision, trust_remote_code=config.trust_remote_code, **arguments
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"the model cannot be loaded: {error}", config.model, "check finetune.model_args") from error


def training_arguments(config: Config, local: Path, *, evaluates: bool, resumes: bool) -> SFTConfig:
    """Returns TRL's arguments; raises :class:`TypeError` or :class:`ValueError` for those that it does not take."""
    finetune = config.finetune
    ours = """max_length num_train_epochs max_steps per_device_train_batch_size gradient_accumulation_steps learning_rate
    lr_scheduler_type warmup_steps weight_decay max_grad_norm bf16 gradient_checkpointing logging_steps eval_steps
    save_steps""".split()
    given: Mapping[str, Any] = {
        **{name: getattr(finetune, name) for name in ours},
        "per_device_eval_batch_size": finetune.per_device_train_batch_size,
        "fsdp": finetune.fsdp or None,
        "seed": config.run.seed,
        "packing": True,
        "packing_strategy": "bfd",
        "completion_only_loss": True,
        "eval_strategy": "steps" if evaluates else "no",
        # The loss of the model as it was; before a resume it has been taken.
        "eval_on_start": evaluates and not resumes,
        "save_strategy": "steps",
        "save_total_limit": 1,
        "logging_first_step": True,
        "use_cpu": finetune.num_gpus == 0,
        "report_to": "none",
        "disable_tqdm": True,
        **finetune.training_args,
    }
    return SFTConfig(output_dir=str(local), **given)


class Report(TrainerCallback):  # type: ignore[misc]  # transformers' annotations are not followed
    """Tells metrics, and gives each checkpoint to Ray Train, which moves it to storage under ``step=<n>``."""

    def __init__(self, rows: int, tell: Tell) -> None:
        self._rows, self._tell = rows, tell

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Tells how far the fine-tuning is and goes."""
        if state.is_world_process_zero:
            rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            told = {"step": state.global_step, "max_steps": state.max_steps, "epochs": state.num_train_epochs}
            self._tell({**told, "rows": self._rows, "rows_a_step": rows_a_step})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Leaves out the checkpoint of the last step: transformers' Trainer, resumed there, does one step too many."""
        if state.global_step >= state.max_steps:
            control.should_save = False

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Tells the row that was logged."""
        if state.is_world_process_zero:
            self._tell(dict(state.log_history[-1]))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Gives a checkpoint's files to Ray Train. All workers come here; of each node one has the node's files."""
        metrics = {"step": state.global_step}
        if ray.train.get_context().get_local_rank() == 0:
            saved = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            checkpoint = ray.train.Checkpoint.from_directory(str(saved))
        else:
            checkpoint = None
        ray.train.report(metrics, checkpoint=checkpoint, checkpoint_dir_name=f"step={state.global_step:07d}")


def _read_sequences(run: Folder, split: str | None) -> datasets.Dataset | None:
    """Returns the sequences of a split, None where it has none."""
    table = run.read_table(f"sequences/{split}.parquet", SEQUENCES) if split else None
    return datasets.Dataset(table.drop(["question_id"])) if table is not None and table.num_rows else None


def _last_row(state: TrainerState) -> Mapping[str, Any]:
    rows = [row for row in state.log_history if row["step"] == state.global_step]
    return {key: value for row in rows for key, value in row.items()}
