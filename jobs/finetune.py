"""A published dataset and a model → the model fine-tuned on it, which vLLM loads."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.training.pipeline import finetune


def main(config: Config) -> None:
    """Fine-tune finetune.model on finetune.dataset, or resume where finetune.uri left off."""
    manifest = finetune(config)
    losses = manifest["held_out_loss"]
    told = f", held-out loss {losses['before']:.4f} before, {losses['after']:.4f} after" if losses else ""
    print(f"{manifest['steps']:,} steps{told}")
    print(f"model: {config.finetune.uri}/model\nin a browser: {config.finetune.uri}/finetune.html")


if __name__ == "__main__":
    run_job(main)
