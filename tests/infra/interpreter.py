"""Executes a state machine's definition in moto's interpreter: every call of its tasks is answered and written down.

Run by the Python that has moto: reads ``{"definition": …, "worlds": {name: {…}}}`` from standard input and executes the
definition once in each world; writes what became of each. S3, EC2 and SNS are moto's; Systems Manager and EMR Serverless,
which have nobody behind them there, follow the world:

    etag_built      whether the marker beside the graph says the graph is of the present source; null for no marker
    online          at which look the head is online; null for never
    submit          how Run Command ends when a job is submitted
    statuses        what the job's status is at each look; the last one stays
    faults          "service.call" → how often it fails before it answers
    spark_fails     whether the Spark job fails
    workers         whether a worker runs

Waits take no time; their seconds are added up. moto is reached by import_module, for the environment that checks types has
none.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from importlib import import_module
from types import SimpleNamespace
from typing import Any

REGION = "us-east-1"
PARSER = "moto.stepfunctions.parser.asl.component.state"
ERRORS = "moto.stepfunctions.parser.asl.component.common.error_name"
SERVICES = f"{PARSER}.exec.state_task.service.state_task_service"


class World:
    """What the state machine finds, and what it did."""

    def __init__(self, definition: str, world: dict[str, Any]) -> None:
        self.definition, self.world = definition, world
        self.calls: list[dict[str, Any]] = []
        self.waited = 0.0
        self.looks: Counter[str] = Counter()
        self.commands: dict[str, str] = {}

    def answer(self, service: str, call: str, parameters: dict[str, Any], real: Any) -> Any:
        """Writes a call down and answers it."""
        self.calls.append({"call": f"{service}.{call}", "parameters": json.loads(json.dumps(parameters, default=str))})
        self.looks[f"{service}.{call}"] += 1
        if self.looks[f"{service}.{call}"] <= self.world.get("faults", {}).get(f"{service}.{call}", 0):
            raise error("ThrottlingException", call)
        if service == "emr-serverless":
            return self._spark(call)
        if service == "ssm":
            return self._ssm(call, parameters)
        if call == "put_object":
            # AWS writes an object given as JSON as its text.
            parameters = parameters | {"Body": json.dumps(parameters["Body"], default=str).encode()}
        told = getattr(real, call)(**parameters)
        # And gives an object's content as text.
        return told | {"Body": told["Body"].read().decode()} if call == "get_object" else told

    def _spark(self, call: str) -> dict[str, Any]:
        if self.world.get("spark_fails"):
            raise error("JobFailed", call)
        return {"JobRunId": "job", "State": "SUCCESS"}

    def _ssm(self, call: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if call == "describe_instance_information":
            online = self.world.get("online", 1)
            there = online is not None and self.looks["ssm.describe_instance_information"] >= online
            head = parameters["Filters"][0]["Values"][0]
            return {"InstanceInformationList": [{"InstanceId": head, "PingStatus": "Online"}] if there else []}
        if call == "send_command":
            number = f"command-{self.looks['ssm.send_command']}"
            self.commands[number] = parameters["Parameters"]["action"][0]
            return {"Command": {"CommandId": number, "Status": "Pending"}}
        action = self.commands[parameters["CommandId"]]
        if self.looks[parameters["CommandId"]] == 0:
            # The agent takes its time: the first look at a command finds it under way.
            self.looks[parameters["CommandId"]] += 1
            return {"Status": "InProgress", "StandardOutputContent": "", "StandardErrorContent": ""}
        if action == "submit":
            ended = self.world.get("submit", "Success")
            return {"Status": ended, "StandardOutputContent": "", "StandardErrorContent": "no such key"}
        statuses = self.world.get("statuses", ["SUCCEEDED"])
        self.looks["statuses"] += 1
        word = statuses[min(self.looks["statuses"], len(statuses)) - 1]
        return {"Status": "Success", "StandardOutputContent": f"{word}\n", "StandardErrorContent": ""}


def error(code: str, call: str) -> Exception:
    """An error as AWS' client raises it."""
    answer = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "0"}}
    client_error: type[Exception] = import_module("botocore.exceptions").ClientError
    return client_error(answer, call)


def listen(world: World) -> None:
    """Puts the world between the interpreter and AWS, and takes the time out of waiting."""

    class Client:
        def __init__(self, service: str) -> None:
            self._service, self._real = service, import_module("boto3").client(service, region_name=REGION)

        def __getattr__(self, call: str) -> Any:
            return lambda **parameters: world.answer(self._service, call, parameters, self._real)

    for name in ("aws_sdk", "sns", "unsupported"):
        module: Any = import_module(f"{SERVICES}_{name}")
        module.boto_client_for = lambda service, region, state_credentials=None: Client(service)

    def wait(seconds: float) -> None:
        world.waited += seconds

    waiting = import_module(f"{PARSER}.wait.wait_function.wait_function").WaitFunction
    waiting._wait_interval = lambda self, env, wait_seconds: wait(wait_seconds)
    retry: Any = import_module("moto.stepfunctions.parser.asl.component.common.retry.retrier_decl")
    retry.time = SimpleNamespace(sleep=wait)


def teach_moto() -> None:
    """moto cannot wait for a Spark job, which here has ended when its call returns, and spells services its own way."""
    spark = import_module(f"{SERVICES}_unsupported").StateTaskServiceUnsupported
    condition = import_module(f"{SERVICES[: -len('state_task_service')]}resource").ResourceCondition
    start = spark.__init__

    def started(self: Any) -> None:
        start(self)
        self._supported_integration_patterns = {condition.WaitForTaskToken, condition.Sync}

    def resolve(self: Any, env: Any, **_: Any) -> Any:
        output = env.stack.pop()
        return lambda: output

    def fail(self: Any, env: Any, ex: Exception) -> Any:
        # On AWS it is States.TaskFailed, which moto's Parallel cannot pass on.
        told = {
            "error": "SparkFailed",
            "cause": str(ex),
            "resource": "startJobRun.sync",
            "resourceType": "emr-serverless",
        }
        return import_module(f"{ERRORS}.failure_event").FailureEvent(
            env=env,
            error_name=import_module(f"{ERRORS}.custom_error_name").CustomErrorName("SparkFailed"),
            event_type=import_module("moto.stepfunctions.parser.api").HistoryEventType.TaskFailed,
            event_details={"taskFailedEventDetails": told},
        )

    spark.__init__, spark._build_sync_resolver, spark._from_error = started, resolve, fail
    # AWS writes S3.NoSuchKeyException.
    import_module(f"{SERVICES}_aws_sdk")._SERVICE_ERROR_NAMES.update(s3="S3", ec2="Ec2", ssm="Ssm")


def furnish(world: World) -> dict[str, str]:
    """Makes bucket, source, marker, head and two workers (one of another cluster); returns their ids."""
    boto3: Any = import_module("boto3")
    s3, ec2, sns = (boto3.client(name, region_name=REGION) for name in ("s3", "ec2", "sns"))
    names: dict[str, str] = world.world["names"]
    s3.create_bucket(Bucket=names["bucket"])
    s3.put_bucket_versioning(Bucket=names["bucket"], VersioningConfiguration={"Status": "Enabled"})
    etag = s3.put_object(Bucket=names["bucket"], Key="source/kg.csv", Body=b"relation")["ETag"]
    if (same := world.world.get("etag_built")) is not None:
        marker = json.dumps({"etag": etag if same else '"older"'}).encode()
        s3.put_object(Bucket=names["bucket"], Key="graph/primekg.source.json", Body=marker)
    image = "ami-0d27e0fb3bac4d724"  # one that moto knows

    def start(**tags: str) -> str:
        pairs = [{"Key": key.replace("_", "-"), "Value": value} for key, value in tags.items()]
        specification = [{"ResourceType": "instance", "Tags": pairs}]
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specification)
        return str(made["Instances"][0]["InstanceId"])

    ids = {
        "head": start(ray_cluster_name=names["cluster"], ray_node_type="head"),
        "worker": start(ray_cluster_name=names["cluster"], ray_node_type="worker"),
        "stranger": start(ray_cluster_name="another", ray_node_type="worker"),
        "topic": sns.create_topic(Name="alerts")["TopicArn"],
    }
    ec2.stop_instances(InstanceIds=[ids["head"]])
    if not world.world.get("workers", True):
        ec2.terminate_instances(InstanceIds=[ids["worker"]])
    for name in ("head", "topic"):
        world.definition = world.definition.replace(names[name], ids[name])
    return ids


def execute(world: World) -> dict[str, Any]:
    """Runs one execution to its end."""
    boto3: Any = import_module("boto3")
    with import_module("moto").mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        ids = furnish(world)
        listen(world)
        machines, s3 = boto3.client("stepfunctions", region_name=REGION), boto3.client("s3", region_name=REGION)
        role = "arn:aws:iam::123456789012:role/state-machine"
        machine = machines.create_state_machine(name="run", definition=world.definition, roleArn=role)
        execution = machines.start_execution(
            stateMachineArn=machine["stateMachineArn"], name="the-execution", input="{}"
        )
        deadline = time.monotonic() + 60
        while (end := machines.describe_execution(executionArn=execution["executionArn"]))["status"] == "RUNNING":
            if time.monotonic() > deadline:
                raise TimeoutError(f"the execution did not end; its last calls: {world.calls[-3:]}")
            time.sleep(0.05)
        history = machines.get_execution_history(executionArn=execution["executionArn"], maxResults=1000)["events"]
        instances = boto3.client("ec2", region_name=REGION).describe_instances()["Reservations"]
        states = {each["Instances"][0]["InstanceId"]: each["Instances"][0]["State"]["Name"] for each in instances}
        bucket = world.world["names"]["bucket"]
        objects = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        entered = [each["stateEnteredEventDetails"]["name"] for each in history if "stateEnteredEventDetails" in each]
        return {
            "status": end["status"],
            "error": end.get("error"),
            "cause": end.get("cause"),
            "states": entered,
            "events": len(history),
            "calls": world.calls,
            "waited": world.waited,
            "instances": {name: states[ids[name]] for name in ("head", "worker", "stranger")},
            "objects": {
                key: json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
                for key in objects
                if key.endswith(".json")
            },
        }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    teach_moto()
    asked = json.load(sys.stdin)
    told = {name: execute(World(asked["definition"], world)) for name, world in asked["worlds"].items()}
    json.dump(told, sys.stdout)
