"""Fine-tuning by Ray Train: what it writes, what it goes on from, what it refuses. The model is tiny, all else is real."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.background import in_background
from benchmarks.s3_server import S3Server
from medreason_dist.errors import ConfigError, RunError
from medreason_dist.storage import Folder
from medreason_dist.training.pipeline import finetune
from tests.conftest import kill_job, run_job
from tests.engines.smol import WARNINGS
from tests.training.conftest import MakeConfig, arguments
from tests.training.planted import plant

pytestmark = [pytest.mark.ray, pytest.mark.model, pytest.mark.slow, *WARNINGS]


def history(run: Folder) -> list[tuple[int, str, float]]:
    """Returns the losses that the trainer logged, in order."""
    rows = run.read_json("history.json")
    return [(row["step"], key, row[key]) for row in rows for key in ("loss", "eval_loss") if key in row]


def steps(run: Folder) -> list[int]:
    """Returns the steps of the checkpoints that are there."""
    names = {name.split("/")[1] for name in run.names() if name.startswith("checkpoints/step=")}
    return sorted(int(name.removeprefix("step=")) for name in names)


def weights(run: Folder) -> Any:
    from safetensors.torch import load

    return load(run.read("model/model.safetensors"))


@pytest.mark.usefixtures("ray")
def test_a_model_learns_and_the_same_command_again_changes_nothing(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    manifest = finetune(config)
    run = Folder(config.finetune.uri)
    losses = manifest["held_out_loss"]
    assert manifest["steps"] == 12 and losses["after"] < losses["before"] - 1
    assert manifest["counts"]["train"]["chats"] == 20 and manifest["counts"]["validation"]["chats"] == 4
    assert manifest["decontamination"]["benchmarks"] == {"medqa_test": 1}
    logged = history(run)
    assert [step for step, key, _ in logged if key == "loss"] == list(range(1, 13))
    assert [step for step, key, _ in logged if key == "eval_loss"] == [0, 6, 12]
    assert steps(run) == [4, 8]
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("starts · 12 steps") and any("step 6/12 · held-out loss" in line for line in told)
    page = run.read("finetune.html").decode()
    assert "<svg" in page and f"{losses['after']:.4f} after" in page
    before = {name: run.read(name) for name in run.names()}
    assert finetune(config) == manifest
    assert {name: run.read(name) for name in run.names()} == before
    # Killed between the last step and the manifest.
    run.delete("_manifest.json")
    run.delete("model/model.safetensors")
    again = finetune(config)
    assert {**again, "wall_s": 0} == {**manifest, "wall_s": 0}
    assert run.read("model/model.safetensors") == before["model/model.safetensors"]
    assert history(run) == logged


@pytest.mark.usefixtures("ray")
def test_another_config_is_refused_by_name_and_nothing_is_overwritten(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("finetune.max_steps=6")
    finetune(config)
    run = Folder(config.finetune.uri)
    before = {name: run.read(name) for name in run.names()}
    with pytest.raises(RunError) as caught:
        finetune(make_config("finetune.max_steps=6", "finetune.learning_rate=1e-3"))
    assert "finetune.learning_rate: 0.01 there, 0.001 here" in str(caught.value)
    with pytest.raises(RunError, match="dataset fingerprint"):
        finetune(
            make_config("finetune.max_steps=6", f"finetune.dataset={plant(tmp_path / 'other', numbers=range(30))}")
        )
    with pytest.raises(RunError, match=r"checkpoints were written by Ray 2\.1\.0"):
        snapshot = run.read_json("checkpoints/checkpoint_manager_snapshot.json")
        run.write_json("checkpoints/checkpoint_manager_snapshot.json", {**snapshot, "ray_version": "2.1.0"})
        finetune(config)
    run.write("checkpoints/checkpoint_manager_snapshot.json", before["checkpoints/checkpoint_manager_snapshot.json"])
    assert {name: run.read(name) for name in run.names()} == before


@pytest.mark.usefixtures("ray")
def test_input_at_fault_is_told_before_anything_is_trained(make_config: MakeConfig, tmp_path: Path) -> None:
    long = plant(tmp_path / "long", repeat=12)
    with pytest.raises(ConfigError, match=r"20 chats of the split train are longer than finetune\.max_length=256"):
        finetune(make_config(f"finetune.dataset={long}"))
    with pytest.raises(RunError, match="nothing is left to train on: 20 rows, 0 of other questions, 20 too long"):
        finetune(make_config(f"finetune.dataset={long}", "finetune.too_long_limit=20"))
    with pytest.raises(ConfigError, match="the model takes 1024 tokens"):
        finetune(make_config("finetune.max_length=2048"))
    with pytest.raises(RunError, match=r"holds something else, such as notes\.txt"):
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken/notes.txt").write_text("mine", encoding="utf-8")
        finetune(make_config(f"finetune.uri={tmp_path}/taken"))
    Folder(f"{tmp_path}/generated").write_json("_plan.json", {"shards": {}, "depends_on": {"run.limit": None}})
    with pytest.raises(RunError, match=r"holds something else, such as _plan\.json"):
        finetune(make_config(f"finetune.uri={tmp_path}/generated"))
    assert not Folder(str(tmp_path / "run")).exists("checkpoints/checkpoint_manager_snapshot.json")


@pytest.mark.usefixtures("ray")
def test_lora_is_merged_and_only_adapters_are_trained(make_config: MakeConfig, tiny_model: str) -> None:
    import torch
    from safetensors.torch import load_file

    config = make_config("finetune.lora_rank=8")
    losses = finetune(config)["held_out_loss"]
    run = Folder(config.finetune.uri)
    assert losses["after"] < losses["before"]
    assert run.exists("adapter/adapter_model.safetensors") and run.exists("model/chat_template.jinja")
    before, after = load_file(f"{tiny_model}/model.safetensors"), weights(run)
    assert set(before) == set(after) and {weight.dtype for weight in after.values()} == {torch.bfloat16}
    changed = {name for name in before if not torch.equal(before[name].to(torch.bfloat16), after[name])}
    assert changed and all("_proj" in name for name in changed)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.usefixtures("ray")
def test_two_workers_train_one_model(make_config: MakeConfig, sharded: bool) -> None:
    config = make_config("finetune.num_workers=2", f"finetune.fsdp={sharded}")
    losses = finetune(config)["held_out_loss"]
    assert losses["after"] < losses["before"] - 1
    (one,) = [weight.shape for name, weight in weights(Folder(config.finetune.uri)).items() if "embed" in name]
    assert one[1] == 64


@pytest.mark.usefixtures("ray")
def test_a_lost_worker_is_started_anew_from_the_last_checkpoint(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config("finetune.max_failures=1", "finetune.max_steps=60", "finetune.eval_split=null")
    run = Folder(config.finetune.uri)

    def kill(ended: threading.Event) -> None:
        while not ended.wait(0.05):
            if 12 in steps(run):
                workers = [each for each in psutil.process_iter(["cmdline"]) if "RayTrainWorker" in str(each.info)]
                workers[0].kill()
                return

    with in_background(kill):
        manifest = finetune(config)
    assert manifest["steps"] == 60 and manifest["held_out_loss"] is None
    assert [step for step, key, _ in history(run) if key == "loss"] == list(range(1, 61))
    told = capsys.readouterr().err
    assert told.count("starts ·") == 1 and told.count("resumes at step") == 1


def slowed(command: Sequence[str]) -> list[str]:
    """A fine-tuning of forty steps, long enough to be killed in the middle."""
    return [*command, "finetune.max_steps=40", "finetune.eval_steps=20", "finetune.save_steps=10"]


@pytest.mark.s3
def test_a_killed_fine_tuning_goes_on_as_if_it_had_not_been(tiny_model: str, tmp_path: Path, s3: S3Server) -> None:
    dataset, uri = plant(tmp_path / "dataset"), f"{s3.new_bucket()}/finetune"
    whole, killed = Folder(str(tmp_path / "whole")), Folder(uri, s3.storage)
    undisturbed = run_job("finetune", *slowed(arguments(tiny_model, dataset, whole.uri)))
    assert undisturbed.returncode == 0, undisturbed.stderr
    place = [f"storage.endpoint_url={s3.endpoint_url}", f"storage.region={s3.storage.region}"]
    command = [*slowed(arguments(tiny_model, dataset, uri)), *place]
    kill_job("finetune", *command, when=lambda: 20 in steps(killed))
    assert not killed.exists("_manifest.json")
    resumed = run_job("finetune", *command)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumes at step" in resumed.stderr and "resumes at step 0" not in resumed.stderr
    assert history(killed) == history(whole)
    assert killed.read("model/model.safetensors") == whole.read("model/model.safetensors")
    assert steps(killed) == [20, 30]
