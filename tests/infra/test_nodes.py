"""What a node is given: user data, scripts, systemd units, the autoscaler's configuration, which Ray itself reads."""

from __future__ import annotations

import base64
import configparser
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.conftest import INFRA, TOOLS, Stack

FILES = INFRA / "modules" / "ray" / "files"
NODE = {
    "ROLE": "head",
    "REGION": "us-east-1",
    "BUCKET": "lab",
    "ENVIRONMENTS": "environments/",
    "LOGS_PREFIX": "logs/",
    "MODELS_PREFIX": "models/",
    "MODELS": "Qwen3-32B",
    "SECRETS": "OPENAI_API_KEY=/medreason/openai",
    "RAY_VERSION": "2.60.0",
    "HEAD_ADDRESS": "10.80.0.10",
    "HEAD_CPUS": "2",
    "IDLE_MINUTES": "5",
}


class Machine:
    """A node's folders, with programs of its own that say what they would have done."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.state = folder, folder / "root", folder / "state"
        for each in (folder / "bin", self.root / "environment" / "bin", self.state):
            each.mkdir(parents=True)
        self.done = folder / "done"
        self.program("aws", 'case "$*" in *head-object*) echo one ;; *get-parameter*) echo "the secret" ;; esac')
        self.program(
            "curl",
            'case "$*" in *PUT*) echo token ;; *ray-user-node-type*) echo g6e-xlarge-spot ;; *) echo i-1 ;; esac',
        )
        self.program("systemctl", "echo active")
        (self.root / "environment.etag").write_text("one\n", encoding="utf-8")
        self.python("echo 2.60.0")

    def program(self, name: str, body: str, folder: str = "bin") -> None:
        file = self.folder / folder / name
        file.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >>"{self.done}"\n{body}\n', encoding="utf-8")
        file.chmod(0o755)

    def python(self, body: str) -> None:
        self.program("python", body, "root/environment/bin")

    def ray(self, body: str) -> None:
        self.program("ray", body, "root/environment/bin")

    def run(self, script: str, *command: str, **node: str) -> subprocess.CompletedProcess[str]:
        settings = self.folder / "node.env"
        settings.write_text("".join(f'{key}="{value}"\n' for key, value in (NODE | node).items()), encoding="utf-8")
        environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "NODE_ENV": str(settings)}
        environment |= {
            "NODE_ROOT": str(self.root),
            "NODE_STATE": str(self.state),
            "AWAIT_TRIES": "2",
            "AWAIT_SECONDS": "0",
        }
        environment |= {
            "RUN_URI": "s3://lab/runs/one",
            "GRAPH_URI": "s3://lab/graph/primekg",
            "COMMAND": "echo $RUN_URI",
        }
        called = [str(FILES / script), *command]
        return subprocess.run(called, env=environment, capture_output=True, text=True, check=False)

    @property
    def log(self) -> str:
        return self.done.read_text("utf-8") if self.done.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("name", ["node", "job"])
def test_scripts_are_bash(name: str) -> None:
    subprocess.run(["bash", "-n", FILES / name], check=True)
    if (TOOLS / "shellcheck").exists():
        done = subprocess.run([TOOLS / "shellcheck", FILES / name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_another_ray_than_the_clusters_is_refused(machine: Machine) -> None:
    machine.python("echo 2.59.1")
    done = machine.run("node", "prepare")
    assert done.returncode == 1
    assert done.stderr == (
        "error: the environment has Ray 2.59.1, the cluster is for 2.60.0\n"
        "  where: s3://lab/environments/ray.tar.gz\n"
        '  next:  pack it with ray==2.60.0, or set ray_version = "2.59.1" and apply\n'
    )


def test_a_missing_environment_says_so(machine: Machine) -> None:
    machine.program("aws", "exit 254")
    done = machine.run("node", "prepare")
    assert done.returncode == 1
    assert "error: there is no packed environment\n  where: s3://lab/environments/ray.tar.gz\n" in done.stderr


@pytest.mark.parametrize("role", ["head", "worker"])
def test_prepare(machine: Machine, role: str) -> None:
    done = machine.run("node", "prepare", ROLE=role)
    assert done.returncode == 0, done.stderr
    start = machine.state / "start.env"
    assert start.stat().st_mode & 0o777 == 0o600
    node_type = "head" if role == "head" else "g6e-xlarge-spot"
    lines = ["RAY_CLOUD_INSTANCE_ID=i-1", f"RAY_NODE_TYPE_NAME={node_type}", "MEDREASON_BUCKET=lab"]
    lines.append("OPENAI_API_KEY='the secret'")
    assert start.read_text("utf-8").splitlines() == lines
    assert "the secret" not in done.stdout + done.stderr
    assert ("cluster.yaml" in machine.log) == (role == "head")
    assert ("s3 sync --no-progress s3://lab/models/Qwen3-32B" in machine.log) == (role == "worker")


def test_start(machine: Machine) -> None:
    machine.ray("true")
    assert machine.run("node", "start").returncode == 0
    assert machine.run("node", "start", ROLE="worker").returncode == 0
    head, worker = (line for line in machine.log.splitlines() if line.startswith("ray "))
    assert "--head" in head and "--dashboard-host=127.0.0.1" in head and f"{machine.root}/cluster.yaml" in head
    assert worker == "ray start --block --address=10.80.0.10:6379"


def age(machine: Machine, minutes: int) -> None:
    subprocess.run(["touch", "-d", f"{minutes} minutes ago", machine.state / "in-use"], check=True)


def test_a_head_without_a_job_powers_off_after_its_minutes(machine: Machine) -> None:
    machine.ray("echo \"[JobDetails(status=<JobStatus.SUCCEEDED: 'SUCCEEDED'>)]\"")
    machine.run("node", "watch")
    assert "poweroff" not in machine.log, "its minutes begin at the first look"
    age(machine, 4)
    machine.run("node", "watch")
    assert "poweroff" not in machine.log
    age(machine, 6)
    machine.run("node", "watch")
    assert "systemctl poweroff" in machine.log


@pytest.mark.parametrize("status", ["RUNNING", "PENDING"])
def test_a_head_with_a_job_stays(machine: Machine, status: str) -> None:
    machine.ray(f"echo \"[JobDetails(status=<JobStatus.{status}: '{status}'>)]\"")
    age(machine, 60)
    machine.run("node", "watch")
    assert "poweroff" not in machine.log


def test_a_head_whose_ray_did_not_start_powers_off(machine: Machine) -> None:
    machine.ray("exit 1")
    age(machine, 6)
    machine.run("node", "watch")
    assert "systemctl poweroff" in machine.log


def test_a_worker_without_its_head_powers_off(machine: Machine) -> None:
    age(machine, 6)
    # Nobody listens there.
    machine.run("node", "watch", ROLE="worker", HEAD_ADDRESS="127.0.0.2")
    assert "systemctl poweroff" in machine.log


@pytest.mark.parametrize(
    ("printed", "word"),
    [
        ("Status for job 'run-1': RUNNING\nStatus message: Job is currently running.", "RUNNING"),
        ("Status for job 'run-1': PENDING", "PENDING"),
        ("-------\nJob 'run-1' succeeded\n-------", "SUCCEEDED"),
        ("Job 'run-1' was stopped", "STOPPED"),
        ("Job 'run-1' failed\nStatus message: exit code 1", "FAILED"),
        ("Job run-1 does not exist", ""),
    ],
)
def test_status_is_one_word(machine: Machine, printed: str, word: str) -> None:
    machine.ray(f'cat <<"END"\n{printed}\nEND')
    done = machine.run("job", "status", "run-1")
    assert (done.returncode, done.stdout.strip()) == (0, word), done.stderr


def test_submit_once(machine: Machine) -> None:
    machine.program("tar", "true")
    machine.ray('case "$2" in status) echo "Job run-1 does not exist" ;; esac')
    done = machine.run("job", "submit", "run-1")
    assert done.returncode == 0, done.stderr
    (submitted,) = [line for line in machine.log.splitlines() if line.startswith("ray job submit")]
    assert submitted.endswith("-- bash -c echo $RUN_URI") and "--submission-id run-1" in submitted
    assert '"RUN_URI": "s3://lab/runs/one", "GRAPH_URI": "s3://lab/graph/primekg"' in submitted
    machine.ray("echo \"Status for job 'run-1': RUNNING\"")
    assert machine.run("job", "submit", "run-1").returncode == 0
    assert machine.log.count("ray job submit") == 1


def test_submit_to_a_ray_that_does_not_start(machine: Machine) -> None:
    machine.ray("exit 1")
    done = machine.run("job", "submit", "run-1")
    assert (done.returncode, "error: Ray did not start" in done.stderr) == (1, True)


def test_expire_tags_completions(machine: Machine) -> None:
    machine.program(
        "aws", 'case "$*" in *list-objects*) printf "runs/one/completions/a\\nruns/one/completions/b\\n" ;; esac'
    )
    assert machine.run("job", "expire", "s3://lab/runs/one").returncode == 0
    assert "--prefix runs/one/completions/" in machine.log
    assert machine.log.count("put-object-tagging") == 2


@pytest.mark.slow
def test_user_data(stack: Stack) -> None:
    instance = stack.only("aws_instance")
    templates = stack.resources("aws_launch_template").values()
    worker = {base64.b64decode(each["user_data"]).decode() for each in templates}
    assert len(worker) == 1
    head = base64.b64decode(instance["user_data_base64"]).decode()
    for role, text in (("head", head), ("worker", worker.pop())):
        assert text.startswith("#cloud-config\n") and len(text.encode()) < 16_384
        files = {each["path"]: each["content"] for each in yaml.safe_load(text)["write_files"]}
        assert files["/opt/medreason/node"] == (FILES / "node").read_text("utf-8")
        settings = dict(line.split("=", 1) for line in files["/etc/medreason/node.env"].splitlines())
        assert settings.keys() == NODE.keys()
        assert (settings["ROLE"], settings["HEAD_ADDRESS"]) == (f'"{role}"', '"10.80.0.10"')
        for unit, kind in (
            ("ray.service", "Service"),
            ("node-watch.service", "Service"),
            ("node-watch.timer", "Timer"),
        ):
            parsed = configparser.ConfigParser(
                strict=False, interpolation=None, delimiters=["="], comment_prefixes=["#"]
            )
            parsed.read_string(files[f"/etc/systemd/system/{unit}"])
            assert kind in parsed and "Unit" in parsed


@pytest.mark.slow
def test_instances_ask_for_tokens_and_encrypt_their_disks(stack: Stack) -> None:
    head = stack.only("aws_instance")
    assert head["metadata_options"][0]["http_tokens"] == "required" and head["root_block_device"][0]["encrypted"]
    for address, template in stack.resources("aws_launch_template").items():
        options = template["metadata_options"][0]
        assert (options["http_tokens"], options["http_put_response_hop_limit"]) == ("required", 1)
        assert template["block_device_mappings"][0]["ebs"][0]["encrypted"] == "true"
        assert template["instance_initiated_shutdown_behavior"] == "terminate"
        assert not template["network_interfaces"], "the autoscaler names the subnet, which excludes interfaces"
        assert bool(template["instance_market_options"]) == ("spot" in address)


@pytest.mark.slow
def test_ray_accepts_the_clusters_configuration(stack: Stack) -> None:
    util: Any = pytest.importorskip("ray.autoscaler._private.util")
    config = yaml.safe_load(stack.only("aws_s3_object")["content"])
    prepared = util.prepare_config(config)
    util.validate_config(prepared)
    assert (config["cluster_name"], config["provider"]["disable_node_updaters"]) == ("medreason", True)
    types = prepared["available_node_types"]
    templates = {each["id"]: each["name"] for each in stack.resources("aws_launch_template").values()}
    workers = {name: each for name, each in types.items() if name != "head"}
    assert len(workers) == 3 * 2
    for name, worker in workers.items():
        node = worker["node_config"]
        assert name == f"{node['InstanceType'].replace('.', '-')}-{'spot' if name.endswith('spot') else 'on-demand'}"
        assert (
            templates[node["LaunchTemplate"]["LaunchTemplateId"]]
            == f"medreason-worker-{name.removeprefix(name.split('xlarge-')[0] + 'xlarge-')}"
        )
        assert worker["min_workers"] == 0 and worker["resources"]["GPU"] >= 1
        assert len(node["SubnetIds"]) == 2
        assert {each["Key"] for each in node["TagSpecifications"][0]["Tags"]} == {"project", "cluster"}
    spot = [each["priority"] for name, each in workers.items() if name.endswith("spot")]
    assert min(spot) > max(each["priority"] for name, each in workers.items() if not name.endswith("spot"))


@pytest.mark.slow
def test_ray_reads_without_a_gpu_and_takes_spot_first(stack: Stack) -> None:
    """Ray's own scheduler decides what the autoscaler would start."""
    config_module: Any = pytest.importorskip("ray.autoscaler.v2.instance_manager.config")
    config = config_module.AutoscalingConfig(
        yaml.safe_load(stack.only("aws_s3_object")["content"]), skip_content_hash=True
    )
    assert config.get_max_num_worker_nodes() == 8 and config.get_idle_timeout_s() == 300
    assert config.disable_node_updaters() and config.get_head_node_type() == "head"
    reading, actors = [{"CPU": 1}] * 2, [{"CPU": 1, "GPU": 1}] * 8
    assert launch(config, reading) == {}
    assert launch(config, reading, head_cpus=0) == {"g6e-xlarge-spot": 1}, "why the head has CPUs"
    assert launch(config, actors) == {"g6e-xlarge-spot": 8}
    failed = {name: 0.0 for name in config.get_node_type_configs() if name.endswith("-spot")}
    assert launch(config, actors, failed) == {"g6e-xlarge-on-demand": 8}


def launch(
    config: Any, demand: Sequence[Mapping[str, float]], failed: dict[str, float] | None = None, head_cpus: int = 2
) -> dict[str, int]:
    """What Ray's autoscaler would start for a demand on a cluster of its head alone; ``failed`` types just did not start."""
    scheduler_module: Any = pytest.importorskip("ray.autoscaler.v2.scheduler")
    from ray.autoscaler.v2.instance_manager.common import InstanceUtil
    from ray.autoscaler.v2.schema import AutoscalerInstance
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.autoscaler_pb2 import NodeState, NodeStatus
    from ray.core.generated.instance_manager_pb2 import Instance, NodeKind

    instance = InstanceUtil.new_instance(instance_id="head", instance_type="head", status=Instance.RAY_RUNNING)
    instance.node_kind, instance.node_id = NodeKind.HEAD, "00"
    head = AutoscalerInstance(
        im_instance=instance,
        ray_node=NodeState(
            ray_node_type_name="head",
            node_id=b"\x00",
            available_resources={"CPU": head_cpus},
            total_resources={"CPU": head_cpus},
            status=NodeStatus.RUNNING,
        ),
        cloud_instance_id="i-head",
    )
    request = scheduler_module.SchedulingRequest(
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        idle_timeout_s=None,
        disable_launch_config_check=True,
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(each) for each in demand]),
        current_instances=[head],
        recoverable_resource_availabilities=failed or {},
    )
    reply = scheduler_module.ResourceDemandScheduler(event_logger=None).schedule(request)
    return {each.instance_type: each.count for each in reply.to_launch}


@pytest.mark.slow
def test_the_document_for_jobs_is_no_shell(stack: Stack) -> None:
    document = json.loads(stack.only("aws_ssm_document")["content"])
    assert document["parameters"]["action"]["allowedValues"] == ["submit", "status", "stop"]
    assert all("allowedValues" in each or "allowedPattern" in each for each in document["parameters"].values())
    script = "\n".join(document["mainSteps"][0]["inputs"]["runCommand"])
    values = {
        "action": "submit",
        "submissionId": "run-1",
        "runUri": "s3://lab/runs/one",
        "graphUri": "s3://lab/graph/g",
    }
    for name, value in values.items():
        script = script.replace(f"{{{{ {name} }}}}", value)
    assert "{{" not in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    tried = script.replace("/opt/medreason/job submit", "echo")
    done = subprocess.run(["bash"], input=f'{tried}\necho "$COMMAND"', capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "run-1\npython jobs/embed_entities.py --config configs/aws.yaml graph.uri=$GRAPH_URI && "
    )
