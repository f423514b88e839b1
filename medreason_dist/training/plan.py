"""The plan of a fine-tuning, ``_plan.json``: what its model depends on, and the tokens that it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medreason_dist.config import Config, finetune_keys, to_dict
from medreason_dist.errors import ConfigError, RunError
from medreason_dist.ids import fingerprint
from medreason_dist.storage import MANIFEST, Folder
from medreason_dist.streaming.plan import PLAN, other_config, package_versions
from medreason_dist.training.chats import Material
from medreason_dist.training.sequences import Tokenizer, encode_chats, require_length, with_local_model

SNAPSHOT: Final = "checkpoints/checkpoint_manager_snapshot.json"
"""Ray Train's own record of its checkpoints."""


def find_plan(config: Config, run: Folder, material: Material) -> dict[str, Any] | None:
    """Returns the plan that a fine-tuning's folder holds, None where it is to be made (anew).

    Raises :class:`RunError` where there are checkpoints of another config (the keys are named) or another Ray, or what is
    not a fine-tuning's.
    """
    try:
        plan: dict[str, Any] = run.read_json(PLAN)
    except FileNotFoundError:
        if there := [name for name in run.names() if not name.startswith(("sequences/", "_run."))]:
            raise _taken(run, there[0]) from None
        return None
    if "finetune.model" not in plan.get("depends_on", {}):
        raise _taken(run, PLAN)
    wanted = depends_on(config, material)
    begun = run.exists(SNAPSHOT)
    if plan["depends_on"] != wanted:
        if begun or run.exists(MANIFEST):
            raise other_config(plan["depends_on"], wanted, run)
        return None
    if begun:
        _require_same_ray(run)
    return plan


def depends_on(config: Config, material: Material) -> dict[str, Any]:
    """Returns what the model depends on."""
    return {**finetune_keys(config), **material.fingerprints}


def write_sequences(config: Config, run: Folder, material: Material) -> dict[str, Any]:
    """Writes the sequences of both splits and the plan, which it returns.

    Raises :class:`~medreason_dist.errors.ModelError` and :class:`ConfigError` for a model that cannot learn from them,
    :class:`RunError` where none is left to train on.
    """
    finetune = with_local_model(config)
    require_length(finetune)
    tokenizer = Tokenizer(finetune)
    counts: dict[str, Any] = {}
    for split in filter(None, (finetune.train_split, finetune.eval_split)):
        chats, other_questions = material.read(split)
        table, too_long = encode_chats(chats, tokenizer, finetune.max_length)
        _require_few(too_long, split, config)
        run.write_table(f"sequences/{split}.parquet", table)
        counts[split] = {
            "rows_read": len(chats) + other_questions,
            "other_questions": other_questions,
            "too_long": too_long,
            "chats": table.num_rows,
            "tokens": sum(map(len, table["input_ids"].to_pylist())),
            "learned_tokens": sum(map(sum, table["completion_mask"].to_pylist())),
        }
    if not counts[finetune.train_split]["chats"]:
        what = f"nothing is left to train on: {_told(counts[finetune.train_split])}"
        raise RunError(what, material.dataset.folder.uri, "give a larger dataset, or other questions_of")
    needed = depends_on(config, material)
    plan = {
        "depends_on": needed,
        "counts": counts,
        "decontamination": dict(material.dataset.manifest["decontamination"] or {}),
        "fingerprints": {"config": fingerprint(needed), "dataset": material.dataset.fingerprint},
        "config": to_dict(config),
        "versions": package_versions("torch", "transformers", "trl", "peft", "accelerate"),
    }
    run.write_json(PLAN, plan)
    return plan


def _require_few(too_long: Mapping[str, int], split: str, config: Config) -> None:
    if len(too_long) <= config.finetune.too_long_limit:
        return
    longest = max(too_long, key=lambda question_id: too_long[question_id])
    what = (
        f"{len(too_long)} chats of the split {split} are longer than finetune.max_length={config.finetune.max_length}, "
        f"the longest has {too_long[longest]} tokens (question_id {longest})"
    )
    remedy = f"raise finetune.max_length, or leave them out by finetune.too_long_limit={len(too_long)}"
    raise ConfigError(what, config.finetune.dataset, remedy)


def _told(counts: Mapping[str, Any]) -> str:
    left_out = f"{counts['other_questions']} of other questions, {len(counts['too_long'])} too long"
    return f"{counts['rows_read']} rows, {left_out}"


def _taken(run: Folder, name: str) -> RunError:
    return RunError(f"the folder holds something else, such as {name}", run.uri, "give another finetune.uri")


def _require_same_ray(run: Folder) -> None:
    import ray

    version = run.read_json(SNAPSHOT).get("ray_version")
    if version != ray.__version__:
        what = f"the checkpoints were written by Ray {version}, which Ray {ray.__version__} does not read"
        raise RunError(what, run.uri, f"resume with Ray {version}, or give another finetune.uri")
