"""Node names of the graph folder → their embeddings."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.generation.embedding import embed_entities


def main(config: Config) -> None:
    """Embeds the node names of the graph at graph.uri with embeddings.model, by Ray actors."""
    result = embed_entities(config)
    print(f"{'embedded' if result.embedded else 'already embedded, nothing to do'}: {result.uri}")
    print("{count:,} names, {dimension} dimensions, by {model}".format(**result.manifest))


if __name__ == "__main__":
    run_job(main)
