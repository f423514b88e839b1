"""Each step's config: its folder below ``compare.uri``, and what differs in it from the config that all share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from medreason_dist.config import Config, EvaluatePrompt, Method, Target, override_config
from medreason_dist.errors import ConfigError
from medreason_dist.evaluation.benchmarks import digest_benchmarks
from medreason_dist.questions.files import digest_files

BASE: Final = "base"
"""The model as it was, among the variants."""


@dataclass(frozen=True)
class Steps:
    """The configs of a comparison, each a function of what it is about. The datasets are those of the methods that the
    variants learn from; who learns the answer alone takes the first of them."""

    config: Config

    @property
    def targets(self) -> list[Target]:
        """What the variants learn, in the order of the table."""
        return list(dict.fromkeys(self.config.compare.targets))

    @property
    def methods(self) -> list[Method]:
        """The methods whose reasoning is generated."""
        return [method for method in Method if method.value in self.targets] or [Method.medreason]

    @property
    def variants(self) -> list[str]:
        """The models that are evaluated, in the order of the table."""
        return [BASE, *(target.value for target in self.targets)]

    def generate(self, method: Method) -> Config:
        """Returns the config of a method's run."""
        run = replace(self.config.run, method=method, uri=self._place(f"runs/{method}"))
        return replace(self.config, run=run, publish=replace(self.config.publish, uri=self._dataset(method)))

    def publish(self, method: Method) -> Config:
        """Returns the config of publishing that run."""
        return self.generate(method)

    def finetune(self, target: Target) -> Config:
        """Returns the config of a variant's fine-tuning."""
        own = next((method for method in self.methods if method.value == target), self.methods[0])
        others = [self._dataset(method) for method in self.methods if method is not own]
        finetune = replace(
            self.config.finetune,
            uri=self._place(f"models/{target}"),
            target=target,
            dataset=self._dataset(own),
            questions_of=others if self.config.compare.same_questions else [],
        )
        return replace(self.config, finetune=finetune)

    def evaluate(self, variant: str) -> Config:
        """Returns the config of a variant's evaluation; raises :class:`ConfigError` for a wrong key of ``evaluate_with``."""
        config = override_config(self.config, self.config.compare.evaluate_with)
        finetune = self.config.finetune
        tuned = self._place(f"models/{variant}/model")
        engine = (
            replace(config.engine, model=finetune.model, revision=finetune.revision)
            if variant == BASE
            else replace(config.engine, model=tuned, revision=None)
        )
        asks_as_chats = config.evaluate.prompt is EvaluatePrompt.chat
        evaluate = replace(
            config.evaluate,
            uri=self._place(f"evaluations/{variant}"),
            system_prompt=config.publish.system_prompt if asks_as_chats else None,
        )
        return replace(config, engine=engine, evaluate=evaluate)

    def require_possible(self) -> None:
        """Raises :class:`ConfigError` where a step would be refused only after those before it were done."""
        if not self.targets:
            raise ConfigError(
                "config key 'compare.targets' is empty", remedy="name medreason, plain_cot or answer_only"
            )
        if not self.config.finetune.model:
            raise ConfigError("config key 'finetune.model' is not set", remedy="set it to the model to fine-tune")
        self.evaluate(BASE)
        asked = digest_benchmarks(self.evaluate(BASE))
        compared = set(digest_files(self.config.questions.decontaminate.items(), self.config.storage).values())
        unseen = [name for name, digest in asked.items() if digest not in compared]
        if unseen and not self.config.compare.allow_undecontaminated:
            what = f"the variants would be scored on a file that the questions are not compared with: {unseen[0]}"
            remedy = (
                "name the same file by questions.decontaminate.<benchmark>=FILE, or set "
                "compare.allow_undecontaminated=true"
            )
            raise ConfigError(what, "evaluate.benchmarks", remedy)

    def _dataset(self, method: Method) -> str:
        return self._place(f"datasets/{method}")

    def _place(self, name: str) -> str:
        return f"{self.config.compare.uri}/{name}"
