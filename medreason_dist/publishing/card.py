"""The dataset's card: README.md, whose front matter the datasets library reads.

All text that comes from data or config is escaped where the template puts it, so that it neither breaks a table nor is
Markdown or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medreason_dist.config import Method, PublishConfig
from medreason_dist.publishing.source import Source
from medreason_dist.publishing.summary import QUANTILES, Summary
from medreason_dist.schemas import CHAT, PUBLISHED, Dataset, RejectReason, Stage

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$!&])")
_SIZES: Final = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6))


LICENSES: Final[Mapping[Dataset, tuple[str, str]]] = {
    Dataset.medqa: ("MedQA (Jin et al. 2021)", "MIT"),
    Dataset.medmcqa: ("MedMCQA (Pal et al. 2022)", "MIT"),
    Dataset.pubmedqa: ("PubMedQA, labelled (Jin et al. 2019)", "MIT; the abstracts are their publishers'"),
    Dataset.pubmedqa_artificial: ("PubMedQA, artificial", "MIT; the abstracts are their publishers'"),
    Dataset.pubmedqa_unlabeled: ("PubMedQA, unlabelled", "MIT; the abstracts are their publishers'"),
    Dataset.mmlu: ("MMLU, medical subjects (Hendrycks et al. 2021)", "MIT"),
    Dataset.medxpertqa: ("MedXpertQA (Zuo et al. 2025)", "MIT"),
    Dataset.huatuo: ("medical-o1-reasoning-SFT (Chen et al. 2024)", "unknown to this card: see its release"),
    Dataset.hle: ("Humanity's Last Exam", "unknown to this card; its makers ask to keep it out of training data"),
}
"""What a source is called, and its licence as its release states it."""


@dataclass
class Written:
    """What was written of one split in one format. ``table_bytes`` is its size in memory."""

    rows: int = 0
    table_bytes: int = 0
    files: dict[str, str] = field(default_factory=dict)
    """Name → SHA-256."""


def write_card(
    source: Source, summary: Summary, written: Mapping[str, Mapping[str, Written]], config: PublishConfig
) -> str:
    """Returns the card of a dataset; ``written`` is by format and split."""
    record = source.record
    splits = {split: parts.rows for split, parts in written["data"].items()}
    names = [name for name in Dataset if name in record["by_source"]]
    return _TEMPLATES.get_template("card.md").render(
        front_matter=Markup(_front_matter(source, written, config, summary.accepted)),
        along_graph=source.method is Method.medreason,
        config=config,
        source=source,
        record=record,
        summary=summary,
        splits=splits,
        reasons=[(reason, summary.reasons[reason]) for reason in RejectReason if summary.reasons[reason]],
        prompts=sorted(summary.prompts.items(), key=lambda item: (list(Stage).index(Stage(item[0][0])), item[0])),
        sources=[(name, *LICENSES[name], record["by_source"][name], summary.datasets[name]) for name in names],
        quantile_names=[f"{quantile:.0%}" for quantile in QUANTILES],
    )


def escape(value: Any) -> Any:
    """Returns a value as one line of Markdown in which nothing is markup."""
    if isinstance(value, Markup):
        return value
    return _MARKDOWN.sub(r"\\\1", " ".join(str(value).split()))


def _front_matter(
    source: Source, written: Mapping[str, Mapping[str, Written]], config: PublishConfig, rows: int
) -> str:
    """Returns the YAML by which the datasets library finds the files; a split without rows is not in it."""
    formats = {"default": ("data", PUBLISHED), "chat": ("chat", CHAT)}
    filled = {name: {split: parts for split, parts in written[name].items() if parts.rows} for name in written}
    graph = ["knowledge-graph"] if source.method is Method.medreason else []
    value = {
        "pretty_name": config.name,
        "license": config.license,
        "language": ["en"],
        "task_categories": ["question-answering", "text-generation"],
        "tags": ["medical", "reasoning", "chain-of-thought", *graph, "synthetic"],
        "size_categories": [next((size for size, limit in _SIZES if rows < limit), "1M<n<10M")],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == "default" else {}),
                "data_files": [{"split": split, "path": f"{folder}/{split}-*.parquet"} for split in filled[folder]],
            }
            for name, (folder, _) in formats.items()
        ],
        "dataset_info": [
            {
                "config_name": name,
                "features": _features(schema),
                "splits": [
                    {"name": split, "num_bytes": parts.table_bytes, "num_examples": parts.rows}
                    for split, parts in filled[folder].items()
                ],
                "dataset_size": sum(parts.table_bytes for parts in filled[folder].values()),
            }
            for name, (folder, schema) in formats.items()
        ],
    }
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def _features(fields: Iterable[pa.Field]) -> list[dict[str, Any]]:
    """Returns fields as the datasets library writes its features: strings, numbers, lists of them or of structs."""
    return [{"name": each.name, **_feature(each.type)} for each in fields]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if not pa.types.is_list(kind):
        return {"dtype": "float32" if pa.types.is_float32(kind) else str(kind)}
    item = kind.value_type
    return {"list": _features(item) if pa.types.is_struct(item) else str(item)}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medreason_dist.publishing"),
        # Of every expression, whichever a template forgets: the output is Markdown, which autoescape knows nothing of.
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = "{:,}".format
    return environment


_TEMPLATES: Final = _environment()
