"""Ray: the cluster that a job runs on, and what Ray Data may say and raise there."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Final

import ray
from ray.data import DataContext

from medreason_dist.config import EmbeddingsConfig, FinetuneConfig, WorkersConfig
from medreason_dist.errors import ConfigError, find_cause

logger = logging.getLogger(__name__)

Actors = WorkersConfig | EmbeddingsConfig | FinetuneConfig
SECTIONS: Final = {WorkersConfig: "workers", EmbeddingsConfig: "embeddings", FinetuneConfig: "finetune"}

CONNECT_S: Final = 10.0
"""Seconds that a cluster's head has to take a connection."""


def connect(actors: Actors) -> None:
    """Connects to the cluster of ``RAY_ADDRESS`` (``ray job submit`` sets it), or starts Ray on this machine.

    ``actors`` says what one actor of the job needs; those of a fine-tuning start together. Raises :class:`ConfigError`
    where this machine has less, for which Ray would wait for ever; a cluster may still grow, so that there it is a
    warning. Raises it too for a cluster that does not answer or has other versions of Ray or Python.
    """
    if not ray.is_initialized():
        if address := os.environ.get("RAY_ADDRESS"):
            _join(address)
            if (lack := _find_lack(actors)) is not None:
                logger.warning("%s: waiting for one that has", lack[1])
        else:
            _start()
            if (lack := _find_lack(actors)) is not None:
                key, what = lack
                remedy = f"lower {key} (num_gpus=0 runs on CPU), or set RAY_ADDRESS to a cluster that has them"
                raise ConfigError(what, key, remedy)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data would wrap what an actor raises, and pickling the wrapper loses the original.
    context.raise_original_map_exception = True
    # It also logs the traceback of what it raises anyway, and says when it is done.
    logging.getLogger("ray.data._internal.execution.streaming_executor_state").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data._internal.execution.streaming_executor").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


@contextlib.contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Raises an actor's own exception in place of Ray's, whose message is the actor's traceback."""
    try:
        yield
    except ray.exceptions.RayError as error:
        # RayTaskError(ModelError) is a ModelError too, hence the look at its cause alone.
        raise find_cause(getattr(error, "cause", None) or error) or error from error


def _start() -> None:
    # At its level «error» Ray tells on every start of an actor pool that restarts need the driver to live, which they do
    # not outlive anyway (ray-project/ray#53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")


def _join(address: str) -> None:
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        # ray.init itself tries for more than two minutes and then ends the process.
        try:
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except OSError as error:
            remedy = "start the head, correct RAY_ADDRESS, or unset it to run on this machine"
            raise ConfigError(f"Ray's head does not answer: {error}", f"RAY_ADDRESS={address}", remedy) from None
    try:
        ray.init()
    except RuntimeError as error:
        if "Version mismatch" not in str(error):
            raise
        remedy = "install the cluster's versions here, or submit with `ray job submit`, which runs on the cluster"
        raise ConfigError(str(error), f"RAY_ADDRESS={address}", remedy) from None


def _find_lack(actors: Actors) -> tuple[str, str] | None:
    """Returns the config's key, and what is wrong, where no node has what one actor needs."""
    section = SECTIONS[type(actors)]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, resource, wanted in (("num_gpus", "GPU", actors.num_gpus), ("num_cpus", "CPU", actors.num_cpus)):
        most = max((node.get(resource, 0) for node in nodes), default=0)
        if wanted > most:
            where = "this machine has" if len(nodes) == 1 else "no node has more than"
            return f"{section}.{key}", f"an actor needs {wanted:g} {resource}s, {where} {most:g}"
        together = sum(node.get(resource, 0) for node in nodes)
        if isinstance(actors, FinetuneConfig) and wanted * actors.num_workers > together:
            what = f"{actors.num_workers} workers need {wanted * actors.num_workers:g} {resource}s together"
            return f"{section}.num_workers", f"{what}, there are {together:g}"
    return None
