"""Models at s3://, of which each machine keeps a copy: a real S3 server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.s3_server import S3Server
from medreason_dist.config import EngineConfig
from medreason_dist.engines import models, require_engine
from medreason_dist.engines.models import fetch_model, require_model
from medreason_dist.errors import ModelError
from medreason_dist.storage import Folder

pytestmark = pytest.mark.s3


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies go."""
    monkeypatch.setattr(models, "COPIES", tmp_path / "copies")
    return tmp_path / "copies"


@pytest.fixture
def stored(s3: S3Server) -> Folder:
    """A model's files in a bucket; the weights take several parts."""
    folder = Folder(f"{s3.new_bucket()}/runs/model", s3.storage)
    folder.write("config.json", b"{}")
    folder.write("model.safetensors", bytes(range(256)) * 80_000)
    return folder


def test_a_model_is_copied_once_and_anew_when_it_has_changed(stored: Folder, s3: S3Server, copies: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        (first,) = set(pool.map(lambda _: fetch_model(stored.uri, s3.storage), range(4)))
    assert (Path(first) / "model.safetensors").read_bytes() == stored.read("model.safetensors")
    assert {path.name for path in copies.iterdir() if path.is_dir()} == {Path(first).name}
    written = (Path(first) / "config.json").stat().st_mtime_ns
    assert fetch_model(stored.uri, s3.storage) == first
    assert (Path(first) / "config.json").stat().st_mtime_ns == written
    stored.write("config.json", b'{"other": 1}')
    second = fetch_model(stored.uri, s3.storage)
    assert second != first and (Path(second) / "config.json").read_bytes() == b'{"other": 1}'


def test_a_copy_that_was_broken_off_is_made_anew(stored: Folder, s3: S3Server, copies: Path) -> None:
    whole = Path(fetch_model(stored.uri, s3.storage))
    partial = whole.rename(whole.with_suffix(".partial"))
    (partial / "model.safetensors").unlink()
    assert fetch_model(stored.uri, s3.storage) == str(whole)
    assert (whole / "model.safetensors").is_file() and not partial.exists()


def test_a_place_without_a_model_is_told_before_any_worker_starts(s3: S3Server, stored: Folder) -> None:
    require_engine(EngineConfig(model=stored.uri), s3.storage)
    with pytest.raises(ModelError, match=r"the folder has no config\.json") as caught:
        require_model(f"{stored.uri}/none", s3.storage, "finetune.model")
    assert "set finetune.model to" in str(caught.value)
