"""Do the scores of ``grounding`` tell good reasoning from bad: ``python -m benchmarks.grounding GRAPH [PAIRS]``.

GRAPH is a finished graph folder. For PAIRS random pairs of nodes (default 1,000) whose shortest paths have two to four
hops, a reasoning is planted that states every hop of up to three of them, and one of each kind that is not as it should
be. Prints, for each kind and score, the probability that the good reasoning has the better score of the two, ties counted
half (the area under the ROC curve): 1 is told apart always, 0.5 never. Then the time of a reasoning.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import mannwhitneyu

from medreason_dist.config import GraphConfig
from medreason_dist.graph.store import GraphStore
from medreason_dist.reasoning.grounding import ground
from medreason_dist.reasoning.mentions import NameIndex
from medreason_dist.reasoning.paths import find_paths
from medreason_dist.reasoning.records import Path
from medreason_dist.schemas import NodeType

SCORES: Final = ("coverage", "support", "off_path")
SENTENCES: Final = (
    "{a} is tied to {b} ({relation}), which bears on what the patient reports.",
    "We know of {a} that it stands in the relation {relation} to {b}.",
    "Given {a}, one has to think of {b}: the relation is {relation}.",
    "{b} comes in here, since between it and {a} there is {relation}.",
)
LINKING: Final = (
    "The examination agrees with this.",
    "Other causes are less likely at that age.",
    "With that in mind, the next step follows.",
)


@dataclass(frozen=True)
class Case:
    """The kept paths of one planted question, and what is needed to write about them."""

    kept: tuple[Path, ...]
    graph: GraphStore
    rng: random.Random

    def hops(self) -> list[tuple[int, int]]:
        """Returns the distinct hops of the paths, in order."""
        return list(dict.fromkeys(hop for path in self.kept for hop in itertools.pairwise(path.nodes)))

    def state(self, src: int, dst: int, **names: str) -> str:
        """Returns a sentence that states a hop; ``names`` replace the nodes' own (``a``, ``b``)."""
        relation = " or ".join(self.graph.relations(src, dst)) or "a cause"
        ends = {"a": self.call(src), "b": self.call(dst), **names}
        return self.rng.choice(SENTENCES).format(relation=relation, **ends)

    def call(self, node: int) -> str:
        """Returns a node's name, a third of the time in small letters where it is no gene."""
        name = self.graph.name(node)
        return name.lower() if self.graph.type(node) != NodeType.protein and self.rng.random() < 1 / 3 else name

    def write(self, statements: Sequence[str]) -> str:
        """Returns statements as one text, with sentences between them that name nothing."""
        return " ".join(f"{s} {self.rng.choice(LINKING)}" if self.rng.random() < 0.5 else s for s in statements)


def main(folder: str, pairs: int) -> None:
    """Prints the table and the time."""
    graph = GraphStore.open(GraphConfig(uri=folder))
    nodes = graph.node_table
    names = NameIndex(*(nodes[column].to_pylist() for column in ("node_index", "node_name", "node_type")))
    texts = plant(plant_cases(graph, pairs))
    started = time.perf_counter()
    rows = {kind: [ground(text, kept, (), graph, names) for text, kept in planted] for kind, planted in texts.items()}
    taken = time.perf_counter() - started
    print(f"{'kind':<14}" + "".join(f"{score:>10}" for score in SCORES) + "   mean of each")
    for kind, found in rows.items():
        areas = "".join(f"{area(rows['good'], found, score):>10.3f}" for score in SCORES)
        means = "  ".join(f"{np.mean([points(row, score) for row in found]):.2f}" for score in SCORES)
        print(f"{kind:<14}{areas}   {means}")
    count = sum(map(len, rows.values()))
    steps = sum(len(row["steps"]) for found in rows.values() for row in found) / count
    print(f"{count:,} reasonings of {steps:.1f} sentences, {1000 * taken / count:.2f} ms each")


def plant_cases(graph: GraphStore, pairs: int, seed: int = 0) -> list[Case]:
    """Returns cases of random pairs; where a graph has few paths, a pair may come twice."""
    rng = random.Random(seed)
    nodes = graph.node_index.tolist()
    cases: list[Case] = []
    while len(cases) < pairs:
        source = rng.choice(nodes)
        reached = [node for distance in range(1, graph.radius + 1) for node in graph.hop(source, distance).tolist()]
        # Half of them one radius farther on.
        target = rng.choice(reached)
        if rng.random() < 0.5:
            target = rng.choice(graph.hop(target, graph.radius).tolist() or [source])
        group = find_paths(graph, source, target, limit=3)
        if group is not None and group.length > 1:
            cases.append(Case(group.candidates, graph, rng))
    return cases


def plant(cases: Sequence[Case]) -> dict[str, list[tuple[str, tuple[Path, ...]]]]:
    """Returns, by kind, a reasoning for each case and the paths that it is to stand on."""
    return {kind: [(write(case), case.kept) for case in cases] for kind, write in KINDS.items()}


def area(good: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], score: str) -> float:
    """Returns the probability that a good reasoning has the better score than another, ties counted half."""
    better, worse = ([points(row, score) for row in rows] for rows in (good, other))
    return float(mannwhitneyu(better, worse).statistic) / (len(better) * len(worse))


def points(row: Mapping[str, Any], score: str) -> float:
    """Returns a score with more for the better; a reasoning that claims or names nothing has none."""
    value: float | None = row[score]
    return 0.0 if value is None else 1 - value if score == "off_path" else value


# The kinds -----------------------------------------------------------------------------------------------------------


def write_good(case: Case) -> str:
    """States every hop."""
    return case.write([case.state(*hop) for hop in case.hops()])


def write_swapped(case: Case) -> str:
    """Says of another node of the same type, drawn at random, what holds of one on the paths."""
    swapped = case.rng.choice(sorted({node for hop in case.hops() for node in hop}))
    kind = case.graph.type(swapped)
    table = case.graph.node_table
    same = table.filter(np.equal(table["node_type"].to_numpy(zero_copy_only=False), kind))["node_name"].to_pylist()
    name = case.rng.choice([other for other in same if other != case.graph.name(swapped)] or ["aether"])
    return case.write(
        [
            case.state(a, b, **{end: name for end, node in (("a", a), ("b", b)) if node == swapped})
            for a, b in case.hops()
        ]
    )


def write_unconnected(case: Case) -> str:
    """States, instead of one hop, that between the two ends of a path, which have no edge."""
    hops: list[tuple[int, int]] = case.hops()
    nodes = case.rng.choice(case.kept).nodes
    hops[case.rng.randrange(len(hops))] = nodes[0], nodes[-1]
    return case.write([case.state(*hop) for hop in hops])


def write_dropped(case: Case) -> str:
    """Leaves one hop out."""
    hops = case.hops()
    del hops[case.rng.randrange(len(hops))]
    return case.write([case.state(*hop) for hop in hops])


def write_unrelated(case: Case) -> str:
    """States hops elsewhere in the graph, each of them true."""
    return write_good(case.rng.choice(plant_cases(case.graph, 1, case.rng.randrange(2**32))))


def write_listed(case: Case) -> str:
    """Names every node, and states nothing between two of them."""
    nodes = dict.fromkeys(node for hop in case.hops() for node in hop)
    return case.write([f"One has to think of {case.call(node)}." for node in nodes])


def write_pronouns(case: Case) -> str:
    """States every hop, its first end as «this» where the sentence before has named it: good reasoning, in short."""
    said, before = list[str](), None
    for a, b in case.hops():
        said.append(case.state(a, b, a="this") if a == before else case.state(a, b))
        before = b
    return case.write(said)


def write_turned(case: Case) -> str:
    """States every hop in the wrong direction."""
    return case.write([case.state(b, a) for a, b in case.hops()])


def write_negated(case: Case) -> str:
    """Denies every hop."""
    return case.write([f"It is not true that {case.state(*hop)}" for hop in case.hops()])


KINDS: Final[Mapping[str, Callable[[Case], str]]] = {
    "good": write_good,
    "swapped": write_swapped,
    "unconnected": write_unconnected,
    "dropped": write_dropped,
    "unrelated": write_unrelated,
    "listed": write_listed,
    "pronouns": write_pronouns,
    "turned": write_turned,
    "negated": write_negated,
}

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000)
