"""The comparison as one chain. Each step resumes by itself, so that the same command resumes the whole."""

from __future__ import annotations

import sys

from medreason_dist.config import Config
from medreason_dist.evaluation.comparison import read_evaluations, write_comparison
from medreason_dist.evaluation.pipeline import evaluate
from medreason_dist.experiment.steps import Steps
from medreason_dist.experiment.table import Comparison, Learned, format_comparison
from medreason_dist.generation.pipeline import generate
from medreason_dist.publishing.dataset import publish_dataset
from medreason_dist.storage import Folder
from medreason_dist.training.pipeline import finetune


def compare(config: Config) -> str:
    """Does what is left of the comparison at ``compare.uri`` and returns its table; the page is ``comparison.html``.

    Raises as the steps do, and :class:`~medreason_dist.errors.ConfigError`, before the first of them, for what would stop
    a later one.
    """
    steps, place = Steps(config), Folder(config.compare.uri, config.storage)
    steps.require_possible()
    for method in steps.methods:
        _tell(f"generate and publish: {method}")
        generate(steps.generate(method))
        publish_dataset(steps.publish(method))
    learned = {}
    for target in steps.targets:
        _tell(f"fine-tune: {target}")
        learned[target.value] = Learned.of(finetune(steps.finetune(target)))
    for variant in steps.variants:
        _tell(f"evaluate: {variant}")
        evaluate(steps.evaluate(variant))
    evaluations = read_evaluations([place.child(f"evaluations/{variant}") for variant in steps.variants])
    write_comparison(place, evaluations)
    comparison = Comparison(evaluations, learned)
    place.write_json("comparison.json", comparison.as_json())
    return format_comparison(comparison)


def _tell(step: str) -> None:
    print(f"— {step}", file=sys.stderr, flush=True)
