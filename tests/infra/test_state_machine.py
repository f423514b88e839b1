"""The state machine's definition, executed: what it calls and how it ends, branch by branch."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Any

import pytest

from tests.infra.conftest import HERE, Stack, require_tool

pytestmark = pytest.mark.slow

LOOKS = 24 * 60 * 60 // (120 + 15)
THROTTLED = [
    *("s3.head_object", "ec2.start_instances", "ssm.send_command", "ssm.get_command_invocation", "ec2.stop_instances"),
]
RUN = "s3://lab-medreason/runs/scheduled-"
LOOK_FOR_WORKERS = ["FindWorkers", "AreThereWorkers"]
CLEAN = [
    "StopHead",
    "WaitForAutoscaler",
    *LOOK_FOR_WORKERS,
    "EndWorkers",
    "WaitForEnd",
    *LOOK_FOR_WORKERS,
    "DidAllGoWell",
]
FAILED = [*CLEAN, "Alert", "Failed"]


class Execution:
    """One execution that has ended."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.status: str = told["status"]
        self.cause: str | None = told["cause"]
        self.states: list[str] = told["states"]
        self.events: int = told["events"]
        self.waited: int = told["waited"]
        self.instances: dict[str, str] = told["instances"]
        self.objects: dict[str, dict[str, str]] = told["objects"]
        self._calls: list[dict[str, Any]] = told["calls"]

    @property
    def calls(self) -> Counter[str]:
        """How often each call was made; commands on the head by their action."""
        commands = [each["parameters"]["Parameters"]["action"][0] for each in self.all("ssm.send_command")]
        return Counter(each["call"] for each in self._calls) + Counter(f"job {action}" for action in commands)

    def all(self, call: str) -> list[dict[str, Any]]:
        """All calls of a kind."""
        return [each for each in self._calls if each["call"] == call]

    def parameters(self, call: str) -> dict[str, Any]:
        """The parameters of the only call of a kind."""
        (only,) = self.all(call)
        return dict(only["parameters"])


WORLDS: dict[str, dict[str, Any]] = {
    "first time": {"etag_built": None, "online": 3, "statuses": ["PENDING", "RUNNING", "SUCCEEDED"]},
    "graph changed": {"etag_built": False},
    "graph unchanged": {"etag_built": True},
    "without workers": {"etag_built": True, "workers": False},
    "spark fails": {"etag_built": False, "spark_fails": True},
    "job FAILED": {"etag_built": True, "statuses": ["RUNNING", "FAILED"]},
    "job STOPPED": {"etag_built": True, "statuses": ["RUNNING", "STOPPED"]},
    "job lost": {"etag_built": True, "statuses": ["RUNNING", ""]},
    "not submitted": {"etag_built": True, "submit": "Failed"},
    "run away": {"etag_built": True, "statuses": ["RUNNING"]},
    "never online": {"etag_built": True, "online": None},
    "throttled": {"etag_built": True, "faults": dict.fromkeys(THROTTLED, 1)},
    "head not stopped": {"etag_built": True, "faults": {"ec2.stop_instances": 99}},
    "no alert": {"etag_built": True, "statuses": ["FAILED"], "faults": {"sns.publish": 99}},
    "ten looks": {"etag_built": True, "statuses": ["RUNNING"] * 10 + ["SUCCEEDED"]},
}


@pytest.fixture(scope="module")
def executions(stack: Stack) -> dict[str, Execution]:
    """One execution in each world, by its name."""
    python = require_tool("moto_server").replace("moto_server", "python")
    definition = stack.only("aws_sfn_state_machine")["definition"]
    # 640 looks are 24 hours; the interpreter takes a minute for them.
    assert definition.count(f'"NumericGreaterThanEquals": {LOOKS}') == 1
    definition = definition.replace(f'"NumericGreaterThanEquals": {LOOKS}', '"NumericGreaterThanEquals": 12')
    names = {"bucket": "lab-medreason", "cluster": "medreason", "head": stack.only("aws_instance")["id"]}
    names["topic"] = stack.only("aws_sns_topic")["arn"]
    worlds = {name: {"names": names, **world} for name, world in WORLDS.items()}
    asked = json.dumps({"definition": definition, "worlds": worlds})
    done = subprocess.run([python, HERE / "interpreter.py"], input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: Execution(told) for name, told in json.loads(done.stdout).items()}


def assert_cleaned_up(execution: Execution) -> None:
    """The head is stopped, the cluster's worker is terminated, another cluster's is not touched."""
    assert execution.instances == {"head": "stopped", "worker": "terminated", "stranger": "running"}


def assert_failed(execution: Execution, error: str) -> None:
    """The execution failed for a reason, told by mail, and cleaned up."""
    assert execution.status == "FAILED"
    assert execution.states[-len(FAILED) :] == FAILED
    message = execution.parameters("sns.publish")["Message"]
    assert message.startswith("Execution the-execution of medreason failed.\n\n")
    assert json.loads(message.split("\n\n", 1)[1])["error"]["Error"] == error
    assert execution.cause and error in execution.cause
    assert "published/latest.json" not in execution.objects
    assert_cleaned_up(execution)


def test_first_time(executions: dict[str, Execution]) -> None:
    done = executions["first time"]
    assert done.status == "SUCCEEDED", done.cause
    assert done.calls["emr-serverless.start_job_run"] == 1
    assert done.calls["ssm.describe_instance_information"] == 3
    assert (done.calls["job submit"], done.calls["job status"], done.calls["job stop"]) == (1, 3, 0)
    assert done.calls["sns.publish"] == 0
    assert done.objects["graph/primekg.source.json"]["execution"] == "the-execution"
    latest = done.objects["published/latest.json"]
    assert latest["run_uri"].startswith(RUN) and len(latest["run_uri"]) > len(RUN)
    assert (latest["graph_uri"], latest["execution"]) == ("s3://lab-medreason/graph/primekg", "the-execution")
    assert_cleaned_up(done)


def test_graph_changed(executions: dict[str, Execution]) -> None:
    done = executions["graph changed"]
    assert done.status == "SUCCEEDED", done.cause
    spark = done.parameters("emr-serverless.start_job_run")
    driver = spark["JobDriver"]["SparkSubmit"]
    assert driver["EntryPoint"] == "s3://lab-medreason/environments/jobs/build_neighborhoods.py"
    assert "graph.source=s3://lab-medreason/source/kg.csv" in driver["EntryPointArguments"]
    assert spark["Name"] == "the-execution" and spark["Tags"]["cluster"] == "medreason"
    assert done.objects["graph/primekg.source.json"]["etag"] != '"older"'


def test_graph_unchanged(executions: dict[str, Execution]) -> None:
    done = executions["graph unchanged"]
    assert done.status == "SUCCEEDED", done.cause
    assert done.calls["emr-serverless.start_job_run"] == 0
    assert [each["parameters"]["Key"] for each in done.all("s3.put_object")] == ["published/latest.json"]
    submitted = done.all("ssm.send_command")[0]["parameters"]
    assert submitted["DocumentName"] == "medreason-job"
    assert submitted["Parameters"]["submissionId"] == ["run-the-execution"]
    assert submitted["Parameters"]["runUri"] == [done.objects["published/latest.json"]["run_uri"]]


def test_spark_fails(executions: dict[str, Execution]) -> None:
    done = executions["spark fails"]
    assert done.calls["emr-serverless.start_job_run"] == 1, "a job that failed is not tried again"
    assert done.calls["ec2.start_instances"] == 0
    assert "etag" in done.objects["graph/primekg.source.json"]
    assert done.objects["graph/primekg.source.json"]["etag"] == '"older"'
    assert_failed(done, "SparkFailed")


@pytest.mark.parametrize("word", ["FAILED", "STOPPED"])
def test_ray_job_fails(executions: dict[str, Execution], word: str) -> None:
    done = executions[f"job {word}"]
    assert_failed(done, "JobFailed")
    assert done.calls["job stop"] == 0


def test_the_head_knows_no_such_job(executions: dict[str, Execution]) -> None:
    assert_failed(executions["job lost"], "JobLost")


def test_submitting_fails(executions: dict[str, Execution]) -> None:
    done = executions["not submitted"]
    assert_failed(done, "NotSubmitted")
    assert "Run Command ended with Failed: no such key" in str(done.cause)


def test_run_away(executions: dict[str, Execution]) -> None:
    done = executions["run away"]
    assert_failed(done, "RanTooLong")
    assert (done.calls["job status"], done.calls["job stop"]) == (12, 1)
    assert done.waited >= 12 * 120


def test_head_never_online(executions: dict[str, Execution]) -> None:
    done = executions["never online"]
    assert_failed(done, "HeadNeverOnline")
    assert done.calls["ssm.describe_instance_information"] == 40
    assert done.calls["ssm.send_command"] == 0


def test_throttled_calls_are_tried_again(executions: dict[str, Execution]) -> None:
    done = executions["throttled"]
    assert done.status == "SUCCEEDED", done.cause
    assert done.calls["job submit"] == 2, "the same submission id both times"
    ids = {each["parameters"]["Parameters"]["submissionId"][0] for each in done.all("ssm.send_command")}
    assert ids == {"run-the-execution"}


def test_a_head_that_cannot_be_stopped_is_told_and_workers_end_all_the_same(executions: dict[str, Execution]) -> None:
    done = executions["head not stopped"]
    assert done.status == "FAILED"
    told = json.loads(done.parameters("sns.publish")["Message"].split("\n\n", 1)[1])
    assert "head_not_stopped" in told and "error" not in told
    assert done.instances["worker"] == "terminated"


def test_without_workers_nothing_is_terminated(executions: dict[str, Execution]) -> None:
    done = executions["without workers"]
    assert (done.status, done.calls["ec2.terminate_instances"]) == ("SUCCEEDED", 0), done.cause


def test_an_alert_that_cannot_be_sent_fails_the_execution_after_it_cleaned_up(executions: dict[str, Execution]) -> None:
    done = executions["no alert"]
    assert done.status == "FAILED" and done.states[-1] == "Alert"
    assert_cleaned_up(done)


def test_a_look_takes_few_enough_of_the_25000_events(executions: dict[str, Execution]) -> None:
    events = (executions["ten looks"].events - executions["graph unchanged"].events) / 10
    print(f"{events} events a look")
    # variables.tf allows 800 looks.
    assert 800 * events < 25_000 * 0.9
