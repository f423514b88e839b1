"""A model that trains in seconds: SmolLM2's tokenizer and template, two small layers of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medreason_dist.config import Config, load_config
from tests.engines.smol import MODEL
from tests.training.planted import plant

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the model."""
    if not (MODEL / "config.json").is_file():
        pytest.skip(f"no model at {MODEL}: `make .models` makes it")
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def make_config(tmp_path: Path, tiny_model: str) -> MakeConfig:
    """Returns a factory of configs: ``make_config(*dotlist)``, by default twelve steps of the tiny model on a planted
    dataset, into the test's folder."""

    def make(*dotlist: str) -> Config:
        dataset = tmp_path / "dataset"
        if not dataset.exists():
            plant(dataset)
        return load_config(Config, None, [*arguments(tiny_model, str(dataset), str(tmp_path / "run")), *dotlist])

    return make


def arguments(model: str, dataset: str, uri: str) -> list[str]:
    """The command line of a small fine-tuning on CPU."""
    return [
        f"finetune.uri={uri}",
        f"finetune.dataset={dataset}",
        f"finetune.model={model}",
        *"""finetune.num_gpus=0 finetune.max_length=256 finetune.max_steps=12 finetune.learning_rate=1e-2
        finetune.logging_steps=1 finetune.eval_steps=6 finetune.save_steps=4 finetune.max_failures=0""".split(),
    ]
