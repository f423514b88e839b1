"""A finished run → its accepted rows as a dataset with a card, for the datasets library and for fine-tuning."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.publishing.dataset import publish_dataset


def main(config: Config) -> None:
    """Write the accepted rows of the run at run.uri to publish.uri: splits, chats, a card."""
    manifest = publish_dataset(config)
    splits = ", ".join(f"{split} {rows:,}" for split, rows in manifest["splits"].items())
    print(f"published: {config.publish.uri}\n{manifest['rows']:,} rows: {splits}")


if __name__ == "__main__":
    run_job(main)
