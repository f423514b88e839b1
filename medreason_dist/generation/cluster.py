"""Ray: the cluster that a job runs on, and what Ray Data may say and raise there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import ray
from ray.data import DataContext

from medreason_dist.config import EmbeddingsConfig, WorkersConfig
from medreason_dist.errors import ConfigError, find_cause


def connect(actors: WorkersConfig | EmbeddingsConfig) -> None:
    """Connects to the cluster of ``RAY_ADDRESS`` (``ray job submit`` sets it), or starts Ray on this machine.

    ``actors`` says what one actor of the job needs. Raises :class:`ConfigError` where this machine has less, for which
    Ray would wait for ever; a cluster may still grow.
    """
    if not ray.is_initialized():
        if "RAY_ADDRESS" in os.environ:
            ray.init()
        else:
            _start()
            _require_resources(actors)
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


def _require_resources(actors: WorkersConfig | EmbeddingsConfig) -> None:
    section = "workers" if isinstance(actors, WorkersConfig) else "embeddings"
    there = ray.cluster_resources()
    for key, resource, wanted in (("num_gpus", "GPU", actors.num_gpus), ("num_cpus", "CPU", actors.num_cpus)):
        if wanted > there.get(resource, 0):
            raise ConfigError(
                f"an actor needs {wanted:g} {resource}s, this machine has {there.get(resource, 0):g}",
                f"{section}.{key}",
                f"lower {section}.{key} (num_gpus=0 runs on CPU), or set RAY_ADDRESS to a cluster that has them",
            )
