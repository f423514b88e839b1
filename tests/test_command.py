"""The command line that every job shares: overrides, --show-config and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.errors import EngineDead, ModelError


def test_overrides_beat_the_file_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("run: {limit: 3, seed: 5}\n", encoding="utf-8")
    seen: list[Config] = []
    run_job(seen.append, ["run.seed=6", "--config", str(path), "run.uri=out"])
    assert (seen[0].run.limit, seen[0].run.seed, seen[0].run.uri) == (3, 6, "out")


def test_show_config_prints_the_result_and_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: Config) -> None:
        raise AssertionError("started")

    run_job(job, ["--show-config", "run.limit=7"])
    assert yaml.safe_load(capsys.readouterr().out)["run"]["limit"] == 7


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["run.limt=3"], "error: unknown config key 'run.limt'"),
        (["run.limit=[1"], "error: the value is not YAML"),
        (["run.limit=abc"], "error: config key 'run.limit'"),
        (["--config", "none.yaml"], "error: the config file does not exist"),
        (["limit"], "error: 'limit' is not KEY=VALUE"),
    ],
)
def test_bad_arguments_end_with_2_and_one_message(
    capsys: pytest.CaptureFixture[str], arguments: list[str], start: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_job(lambda config: None, arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(start) and error.count("error:") == 1 and "where:" in error


def test_fault_of_the_user_behind_a_wrapper_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    def job(config: Config) -> None:
        raise RuntimeError("task failed") from ModelError("the model does not exist", "model/", "name another")

    with pytest.raises(SystemExit) as caught:
        run_job(job, [])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: the model does not exist\n  where: model/\n  next:  name another\n"


@pytest.mark.parametrize("error", [EngineDead("dead"), ValueError("bug")])
def test_anything_else_is_raised(error: Exception) -> None:
    def job(config: Config) -> None:
        raise error

    with pytest.raises(type(error)):
        run_job(job, [])
