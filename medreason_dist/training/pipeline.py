"""Fine-tuning as one chain: dataset → sequences → workers → model → manifest."""

from __future__ import annotations

import os
import time
from typing import Any, Final

import ray

from medreason_dist.config import Config, to_dict
from medreason_dist.errors import find_cause
from medreason_dist.storage import MANIFEST, Folder, hold_lease
from medreason_dist.streaming import cluster
from medreason_dist.training.chats import Material, open_material
from medreason_dist.training.console import print_metrics
from medreason_dist.training.page import write_page
from medreason_dist.training.plan import find_plan, write_sequences

CHECKPOINTS: Final = "checkpoints"


def finetune(config: Config) -> dict[str, Any]:
    """Does what is left of the fine-tuning at ``finetune.uri`` and returns its manifest.

    Raises :class:`~medreason_dist.errors.UserError` for input at fault, most of it before a model is loaded, and
    Ray's ``TrainingFailedError`` where workers failed more than ``finetune.max_failures`` times.
    """
    started = time.monotonic()
    run = Folder(config.finetune.uri, config.storage)
    material = open_material(config.finetune, config.storage)
    plan = find_plan(config, run, material)
    if plan is not None and run.exists(MANIFEST):
        return dict(run.read_json(MANIFEST))
    cluster.connect(config.finetune)
    with hold_lease(run, "run") as require_held:
        if plan is None:
            plan = _prepare(config, run, material)
        _train(config, run)
        require_held()
        return _write_manifest(config, run, plan, time.monotonic() - started)


def _prepare(config: Config, run: Folder, material: Material) -> dict[str, Any]:
    """Writes the sequences where the workers are: a model's folder need not be here."""
    prepare = ray.remote(num_cpus=0, num_gpus=config.finetune.num_gpus)(write_sequences)
    with cluster.unwrapped_errors():
        return dict(ray.get(prepare.remote(config, run, material)))


def _train(config: Config, run: Folder) -> None:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    finetune = config.finetune
    # Workers would start in a folder of their own, where no relative path leads anywhere.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    filesystem, path = run.arrow_filesystem()
    with print_metrics() as queue:

        def work() -> None:
            from medreason_dist.training.worker import train

            train(config, queue.put)

        trainer = TorchTrainer(
            work,
            scaling_config=ScalingConfig(
                num_workers=finetune.num_workers,
                use_gpu=finetune.num_gpus > 0,
                resources_per_worker={"CPU": finetune.num_cpus, "GPU": finetune.num_gpus},
            ),
            # The same name in the same place goes on from the last checkpoint there.
            run_config=RunConfig(
                name=CHECKPOINTS,
                storage_path=path,
                storage_filesystem=filesystem,
                checkpoint_config=CheckpointConfig(num_to_keep=finetune.keep_checkpoints),
                failure_config=FailureConfig(max_failures=finetune.max_failures),
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            causes = (find_cause(failure) for failure in error.worker_failures.values())
            raise next(filter(None, causes), error) from error


def _write_manifest(config: Config, run: Folder, plan: dict[str, Any], wall_s: float) -> dict[str, Any]:
    """Writes and returns the manifest, and the page that shows it."""
    from medreason_dist.training.worker import HISTORY

    history = run.read_json(HISTORY)
    held_out = [(row["step"], row["eval_loss"]) for row in history if "eval_loss" in row]
    manifest = {
        "target": config.finetune.target.value,
        "counts": plan["counts"],
        "decontamination": plan["decontamination"],
        "steps": max(row["step"] for row in history),
        "held_out_loss": {"before": held_out[0][1], "after": held_out[-1][1]} if held_out else None,
        "wall_s": round(wall_s, 3),
        "config": to_dict(config),
        "fingerprints": plan["fingerprints"],
        "versions": plan["versions"],
    }
    write_page(run, manifest, history)
    run.write_json(MANIFEST, manifest)
    return manifest
