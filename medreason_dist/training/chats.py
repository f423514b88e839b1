"""What a model learns: the rows of a published dataset as conversations, by target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medreason_dist.config import FinetuneConfig, StorageConfig, Target
from medreason_dist.engines.base import Message
from medreason_dist.errors import RunError
from medreason_dist.publishing.published import PublishedDataset, open_dataset
from medreason_dist.storage import Folder


@dataclass(frozen=True)
class Material:
    """The dataset that is trained on, and those whose questions it is confined to."""

    dataset: PublishedDataset
    others: Sequence[PublishedDataset]
    target: Target

    @property
    def fingerprints(self) -> dict[str, Any]:
        """What identifies the datasets."""
        return {
            "dataset fingerprint": self.dataset.fingerprint,
            "questions_of fingerprints": sorted(other.fingerprint for other in self.others),
        }

    def read(self, split: str) -> tuple[dict[str, list[Message]], int]:
        """Returns the conversations of a split by question_id, and how many rows are left out for their questions.

        Raises as :meth:`PublishedDataset.read_split` does.
        """
        rows = self.dataset.read_split(split).select(["question_id", "reasoning"]).to_pylist()
        chats = self.dataset.read_split(split, "chat")["messages"].to_pylist()
        common = [set(other.read_split(split)["question_id"].to_pylist()) for other in self.others]
        kept = {
            row["question_id"]: [Message(**message) for message in self._answered(messages, row["reasoning"])]
            for row, messages in zip(rows, chats, strict=True)
            if all(row["question_id"] in questions for questions in common)
        }
        return kept, len(rows) - len(kept)

    def _answered(self, messages: Sequence[Mapping[str, str]], reasoning: str) -> Iterator[dict[str, str]]:
        """Yields a chat's messages; the last one is the assistant's."""
        *asked, answer = messages
        yield from map(dict, asked)
        content = answer["content"]
        if self.target is Target.answer_only:
            content = content.removeprefix(f"{reasoning}\n\n")
        yield {"role": answer["role"], "content": content}


def open_material(config: FinetuneConfig, storage: StorageConfig) -> Material:
    """Returns the datasets of a fine-tuning.

    Raises :class:`RunError` where one is missing or changed, was compared with no benchmark (unless the config allows
    it), or was not made by the method that the target learns.
    """
    dataset, *others = (open_dataset(Folder(uri, storage)) for uri in (config.dataset, *config.questions_of))
    if not dataset.benchmarks and not config.allow_undecontaminated:
        what = (
            "the dataset was compared with no benchmark, as its card says: a score of the model may be of what it saw"
        )
        remedy = (
            "publish a run with questions.decontaminate.<benchmark>=FILE, or set finetune.allow_undecontaminated=true, "
            "which the model's manifest will say"
        )
        raise RunError(what, dataset.folder.uri, remedy)
    if config.target is not Target.answer_only and dataset.method.value != config.target.value:
        what = f"the dataset was made by run.method={dataset.method}, which is not finetune.target={config.target}"
        raise RunError(what, dataset.folder.uri, "name the other dataset, or another target")
    return Material(dataset, others, config.target)
