"""Engines: what completes a prompt. One protocol (``base.py``), one file for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medreason_dist.config import EngineConfig, StorageConfig
    from medreason_dist.engines.base import Engine


def open_engine(config: EngineConfig, storage: StorageConfig | None = None) -> Engine:
    """Returns the engine that ``config.kind`` names, ready to complete requests. ``storage`` reaches a model at ``s3://``.

    Raises :class:`~medreason_dist.errors.ModelError` where the model or the endpoint is not to be had.
    """
    from medreason_dist.config import EngineKind

    match config.kind:
        case EngineKind.vllm:
            from medreason_dist.engines.vllm import VLLMEngine

            return VLLMEngine(config, storage)
        case EngineKind.openai:
            from medreason_dist.engines.openai import OpenAIEngine

            return OpenAIEngine(config)
        case EngineKind.scripted:
            from medreason_dist.engines.scripted import ScriptedEngine

            return ScriptedEngine.from_file(config.model)


def require_engine(config: EngineConfig, storage: StorageConfig | None = None) -> None:
    """Raises :class:`~medreason_dist.errors.ModelError` where that is cheap to tell: no weights are loaded."""
    from medreason_dist.config import EngineKind

    if config.kind is EngineKind.vllm:
        from medreason_dist.engines.models import require_model

        require_model(config.model, storage)
    else:
        open_engine(config, storage)
