"""The configs of a comparison's steps, and what is refused before the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from medreason_dist.config import Config, Method, Target, load_config
from medreason_dist.errors import ConfigError
from medreason_dist.experiment.steps import Steps
from tests.conftest import ROOT

BENCHMARK = ROOT / "examples/quickstart/benchmark.jsonl"


def make(*dotlist: str) -> Steps:
    pairs = [
        "compare.uri=out",
        f"evaluate.benchmarks.medqa={BENCHMARK}",
        f"questions.decontaminate.quickstart_test={BENCHMARK}",
        "finetune.revision=v1",
    ]
    return Steps(load_config(Config, ROOT / "configs/quickstart.yaml", [*pairs, *dotlist]))


def test_each_variant_learns_from_the_dataset_of_its_method() -> None:
    steps = make()
    assert steps.methods == [Method.medreason, Method.plain_cot]
    for method in steps.methods:
        config = steps.generate(method)
        assert (config.run.method, config.run.uri, config.publish.uri) == (
            method,
            f"out/runs/{method}",
            f"out/datasets/{method}",
        )
    learns = {target: steps.finetune(target).finetune for target in steps.targets}
    assert {target: (each.dataset, each.questions_of) for target, each in learns.items()} == {
        Target.answer_only: ("out/datasets/medreason", ["out/datasets/plain_cot"]),
        Target.plain_cot: ("out/datasets/plain_cot", ["out/datasets/medreason"]),
        Target.medreason: ("out/datasets/medreason", ["out/datasets/plain_cot"]),
    }
    assert all(each.target is target and each.uri == f"out/models/{target}" for target, each in learns.items())


def test_variants_may_learn_from_all_that_their_method_has() -> None:
    assert make("compare.same_questions=false").finetune(Target.medreason).finetune.questions_of == []


@pytest.mark.parametrize(
    ("targets", "methods"),
    [
        ("[medreason]", [Method.medreason]),
        ("[plain_cot,answer_only]", [Method.plain_cot]),
        ("[answer_only]", [Method.medreason]),
    ],
)
def test_nothing_is_generated_that_no_variant_learns_from(targets: str, methods: list[Method]) -> None:
    steps = make(f"compare.targets={targets}")
    assert steps.methods == methods
    assert [steps.finetune(target).finetune.questions_of for target in steps.targets] == [[]] * len(steps.targets)


def test_the_base_model_is_evaluated_as_it_was_and_the_others_as_they_became() -> None:
    steps = make("compare.evaluate_with=[workers.count=3,engine.max_model_len=2048]")
    base, tuned = steps.evaluate("base"), steps.evaluate("medreason")
    assert steps.variants == ["base", "answer_only", "plain_cot", "medreason"]
    assert (base.engine.model, base.engine.revision) == (".models/SmolLM2-135M-Instruct", "v1")
    assert (tuned.engine.model, tuned.engine.revision) == ("out/models/medreason/model", None)
    assert base.evaluate.uri == "out/evaluations/base"
    assert base.evaluate.system_prompt is None
    for config in (base, tuned):
        assert (config.workers.count, config.engine.max_model_len) == (3, 2048)
    assert steps.generate(Method.medreason).workers.count == 1


def test_a_chat_is_asked_with_the_system_message_that_it_was_learned_with() -> None:
    told = "publish.system_prompt=Reason."
    assert make(told, "evaluate.prompt=chat").evaluate("base").evaluate.system_prompt == "Reason."
    assert make(told, "evaluate.prompt=reasoned").evaluate("base").evaluate.system_prompt is None


def test_what_would_stop_a_later_step_is_told_first(tmp_path: Path) -> None:
    make().require_possible()
    other = tmp_path / "other.jsonl"
    other.write_bytes(BENCHMARK.read_bytes() + b"\n")
    with pytest.raises(ConfigError, match=r"not compared with: medqa: .*other\.jsonl"):
        make(f"evaluate.benchmarks.medqa={other}").require_possible()
    make(f"evaluate.benchmarks.medqa={other}", "compare.allow_undecontaminated=true").require_possible()
    with pytest.raises(ConfigError, match=r"'compare\.targets' is empty"):
        make("compare.targets=[]").require_possible()
    with pytest.raises(ConfigError, match=r"'finetune\.model' is not set"):
        make("finetune.model=''").require_possible()
    with pytest.raises(ConfigError, match=r"unknown config key 'engine\.tensor_size'"):
        make("compare.evaluate_with=[engine.tensor_size=1]").require_possible()
