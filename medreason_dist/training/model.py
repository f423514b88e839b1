"""The trained weights as a model's folder: ``model/``, in bfloat16 safetensors, with tokenizer and chat template."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from medreason_dist.config import FinetuneConfig
from medreason_dist.storage import Folder

if TYPE_CHECKING:
    from trl import SFTTrainer

SHARD: Final = "1GB"
"""Size of a file of weights: one is held in memory when it is written to storage."""


def write_model(trainer: SFTTrainer, config: FinetuneConfig, run: Folder) -> None:
    """Writes ``model/``, and with LoRA ``adapter/`` too; all workers call it, as each may hold a part of the weights."""
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder)
        if isinstance(model, PeftModel):
            model.save_pretrained(local / "adapter", state_dict=weights)
            # Merged into the weights as they were, on CPU: of a sharded model no worker has them whole.
            base = AutoModelForCausalLM.from_pretrained(
                config.model,
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                dtype=torch.bfloat16,
            )
            merged = PeftModel.from_pretrained(base, local / "adapter").merge_and_unload()
            merged.save_pretrained(local / "model", max_shard_size=SHARD)
        else:
            model.config.dtype = torch.bfloat16
            model.save_pretrained(local / "model", state_dict=_to_bfloat16(weights), max_shard_size=SHARD)
        trainer.processing_class.save_pretrained(local / "model")
        for file in sorted(path for path in local.rglob("*") if path.is_file()):
            run.write(file.relative_to(local).as_posix(), file.read_bytes())


def _to_bfloat16(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # Tied weights have to stay one tensor, or they are written twice.
    tensors: dict[int, torch.Tensor] = {}
    for weight in weights.values():
        if weight.data_ptr() not in tensors:
            tensors[weight.data_ptr()] = weight.to("cpu", torch.bfloat16 if weight.is_floating_point() else None)
    return {name: tensors[weight.data_ptr()] for name, weight in weights.items()}
