"""The examples for KubeRay: fields of a RayJob, and commands that the command line accepts."""

import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from timesformer.cli.main import build_app
from timesformer.launch import COMMANDS, parse

FILES = sorted((Path(__file__).parents[2] / "examples/kuberay").glob("*.yaml"))


def strict(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Schema of an object with these fields and no other."""
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


CONTAINER = strict(
    {
        "name": {"type": "string"},
        "image": {"type": "string"},
        "workingDir": {"type": "string", "pattern": "^/"},
        "env": {
            "type": "array",
            "items": strict({"name": {"type": "string"}, "value": {"type": "string"}}, "name", "value"),
        },
        "resources": strict(
            {name: {"type": "object", "required": ["cpu", "memory"]} for name in ("requests", "limits")}
        ),
        "volumeMounts": {
            "type": "array",
            "items": strict({"name": {"type": "string"}, "mountPath": {"type": "string"}}, "name", "mountPath"),
        },
    },
    "name",
    "image",
    "resources",
)
VOLUME = strict(
    {
        "name": {"type": "string"},
        "persistentVolumeClaim": strict({"claimName": {"type": "string"}}, "claimName"),
    },
    "name",
)
TEMPLATE = strict(
    {
        "spec": strict(
            {
                "containers": {"type": "array", "minItems": 1, "items": CONTAINER},
                "volumes": {"type": "array", "items": VOLUME},
            },
            "containers",
        )
    },
    "spec",
)
START = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
WORKERS = strict(
    {
        "groupName": {"type": "string"},
        "replicas": COUNT,
        "minReplicas": COUNT,
        "maxReplicas": COUNT,
        "rayStartParams": START,
        "template": TEMPLATE,
    },
    "groupName",
    "template",
)
CLUSTER = strict(
    {
        "rayVersion": {"type": "string", "pattern": r"^2\.\d+\.\d+$"},
        "authOptions": strict({"mode": {"enum": ["token", "disabled"]}}, "mode"),
        "headGroupSpec": strict({"rayStartParams": START, "template": TEMPLATE}, "template"),
        "workerGroupSpecs": {"type": "array", "items": WORKERS},
    },
    "headGroupSpec",
)
RAY_JOB = strict(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": strict({"name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"}}, "name"),
        "spec": strict(
            {
                "entrypoint": {"type": "string"},
                "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
                "backoffLimit": COUNT,
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": COUNT,
                "rayClusterSpec": CLUSTER,
            },
            "entrypoint",
            "rayClusterSpec",
        ),
    },
    "apiVersion",
    "kind",
    "metadata",
    "spec",
)
"""The documented fields of a RayJob that the examples use. Source: API reference of KubeRay 1.5, `ray.io/v1`."""


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text("utf-8"))


def containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_there_are_jobs():
    assert [path.name for path in FILES] == ["predict.yaml", "train.yaml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_has_the_documented_fields(path: Path):
    job = read(path)
    jsonschema.validate(job, RAY_JOB)
    assert len({container["image"] for container in containers(job)}) == 1
    assert len({str(container["volumeMounts"]) for container in containers(job)}) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_mounts_are_volumes_of_the_pod(path: Path):
    cluster = read(path)["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        names = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]} <= names


def test_command_of_the_batch_job_is_accepted():
    job = read(FILES[0])
    program, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert program == "timesformer"
    command, bound, _ = build_app("predict").parse_args(arguments, exit_on_error=False, print_error=False)
    options = bound.arguments["job"]
    assert (command.__name__, options.work.engine, options.job) == ("predict", "ray", "/data/jobs/predict")
    assert options.work.workers == job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"]


def test_command_of_the_training_is_accepted_and_fits_the_pods():
    job = read(FILES[1])
    words = shlex.split(job["spec"]["entrypoint"])
    program, arguments = words[:3], words[3:]
    assert program == ["python", "-m", "timesformer.launch"]
    given = parse(arguments)
    assert given.command[0] in COMMANDS
    command, bound, _ = build_app("train").parse_args(given.command, exit_on_error=False, print_error=False)
    assert (command.__name__, bound.arguments["resume"]) == ("train", True)
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert group["replicas"] * int(limits["nvidia.com/gpu"]) == given.workers
    assert int(limits["cpu"]) == int(limits["nvidia.com/gpu"]) * given.cpus
