"""What packing is worth: ``python -m benchmarks.finetuning DATASET [KEY=VALUE …]``.

Trains the quickstart's model (or ``finetune.model``) on a published dataset for some steps, with packed rows and, beside
it, with as many chats a step that are padded to the longest of them, and prints tokens a second (padding is none) and
their ratio. Only whole steps after the first two are timed, in which memory is allocated.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from medreason_dist.config import Config, load_config, override_config
from medreason_dist.storage import Folder
from medreason_dist.training.chats import open_material
from medreason_dist.training.plan import write_sequences
from medreason_dist.training.worker import build_trainer

ROOT = Path(__file__).parent.parent
WARM_UP = 2
STEPS = 10


class Rate(NamedTuple):
    """What a way to batch comes to."""

    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens of chats, without padding."""
        return self.tokens / self.seconds


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers' annotations are not followed
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.ends.append(time.perf_counter())


def measure(config: Config, folder: Path, **batching: Any) -> Rate:
    """Returns the rate of a fine-tuning with these further arguments of TRL's."""
    run = Folder(str(folder / "run"))
    write_sequences(config, run, open_material(config.finetune, config.storage))
    arguments = {**config.finetune.training_args, **batching}
    pairs = [f"finetune.training_args.{name}={value}" for name, value in arguments.items()]
    trainer = build_trainer(override_config(config, pairs), run, folder / "local", lambda row: None, resumes=False)
    tokens: list[int] = []
    clock, step = Clock(), trainer.training_step

    def count(model: Any, inputs: Any, *others: Any) -> Any:
        mask = inputs.get("attention_mask")
        tokens.append(int(mask.sum()) if mask is not None else inputs["input_ids"].numel())
        return step(model, inputs, *others)

    trainer.training_step = count
    trainer.add_callback(clock)
    trainer.train()
    return Rate(sum(tokens[WARM_UP:]), clock.ends[-1] - clock.ends[WARM_UP - 1])


def main() -> None:
    """Measures both and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("pairs", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    pairs = [
        f"finetune.dataset={given.dataset}",
        f"finetune.model={ROOT}/.models/SmolLM2-135M-Instruct",
        "finetune.eval_split=null",
        "finetune.save_steps=1000",
        f"finetune.max_steps={WARM_UP + STEPS}",
        *given.pairs,
    ]
    config = load_config(Config, ROOT / "configs/quickstart.yaml", pairs)
    with tempfile.TemporaryDirectory() as folder:
        packed = measure(config, Path(folder) / "packed")
        # As many chats a step as a packed row holds on average.
        chats = max(1, round(packed.tokens / STEPS / mean_length(Path(folder) / "packed/run")))
        padded = measure(config, Path(folder) / "padded", packing=False, per_device_train_batch_size=chats)
    for name, rate in (("packed", packed), (f"padded, {chats} chats a step", padded)):
        print(f"{name:<28}{rate.tokens_per_s:>8,.0f} tokens/s of chats in {rate.seconds:.1f} s")
    print(f"{'ratio':<28}{packed.tokens_per_s / padded.tokens_per_s:>8.2f}")


def mean_length(run: Path) -> float:
    """Returns the mean tokens of a chat."""
    lengths = [len(ids) for ids in Folder(str(run)).read_table("sequences/train.parquet")["input_ids"].to_pylist()]
    return sum(lengths) / len(lengths)


if __name__ == "__main__":
    main()
