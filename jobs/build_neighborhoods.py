"""kg.csv → the graph folder: nodes, edges, neighborhoods."""

from medreason_dist.command import run_job
from medreason_dist.config import Config
from medreason_dist.graph.neighborhoods import build_neighborhoods


def main(config: Config) -> None:
    """Builds the graph folder (nodes, edges, neighborhoods) at graph.uri from PrimeKG's kg.csv at graph.source."""
    build = build_neighborhoods(config)
    print(f"{'built' if build.built else 'already built, nothing to do'}: {build.uri}")
    print("{nodes:,} nodes, {edges:,} edges, entries by hop {entries_by_hop}".format(**build.manifest))


if __name__ == "__main__":
    run_job(main)
