"""A graph of PrimeKG's size and shape, as kg.csv: ``python benchmarks/primekg_like.py OUT.csv[.gz] [SCALE]``.

The published graph cannot be part of the project, so this writes one that costs as much: the same 129,375 nodes of 10
types and 8,100,498 rows of 30 relations (18 display relations), type by type and relation by relation, in the same
format, hubs and odd names included. Names, ids and edges are made up; the same seed and scale give the same bytes.

Counts of types and relations: Chandak, Huang & Zitnik, "Building a knowledge graph to enable precision medicine",
Scientific Data 10:67 (2023), and its data set, doi:10.7910/DVN/IXA7BM; they add up to the published totals. The split
of ``drug_protein`` into its four display relations, and the 4,278 drugs that have a ``drug_drug`` edge, are as others
counted them in that kg.csv. All other shares and all skews in :data:`RELATIONS` are estimates. As in the original, a
pair may have several display relations, but each of them once, and all nodes hang together.

A ``scale`` below 1 (0.01 at least) shrinks nodes and edges alike. Where the edges would then take more than 60 % of all
pairs, more of the nodes take part in them, and drugs and exposures are more than their share.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import math
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medreason_dist.graph.source import COLUMNS
from medreason_dist.schemas import NodeType

DENSEST: Final = 0.6
BLOCK_ROWS: Final = 2**18
TRAP_EVERY: Final = 100
GROUP_EVERY: Final = 12

# Type, nodes, source, id, and the alternatives that a name is put together from (_ is a space).
KINDS: Final = """\
gene/protein        27671  NCBI      {}        LETTER LETTER LETTER |1|2|10|3A
drug                7957   DrugBank  DB{:05}   Cla|Dex|Eto|Flu|Keto|Nor|Pra|Sul STEM azole|cillin|ine|lol|mab|nib|pril
disease             17080  MONDO     {}        |acute_|chronic_|familial_ STEM itis|oma|opathy|osis |_disease|_syndrome
effect/phenotype    15311  HPO       {}        Abnormal_|Mild_|Severe_ STEM al_pain|al_swelling|al_weakness|ic_morphology
biological_process  28642  GO        {}        |negative_|positive_ regulation_of_ STEM oblast_|ocyte_ adhesion|migration
molecular_function  11169  GO        {}        STEM ate|ine|ol|ose _binding|_kinase|_ligase|_oxidase |_activity
cellular_component  4176   GO        {}        |apical_|inner_|outer_ STEM oplasm|osome |_complex|_lumen|_membrane
exposure            818    CTD       D{:06}    Chloro|Methyl|Nitro STEM anol|ate|ide
anatomy             14035  UBERON    {}        |left_|right_ STEM al_duct|al_lobe|al_nerve|al_vein
pathway             2516   REACTOME  R-HSA-{}  Activation_of_|Metabolism_of_|Signaling_by_ STEM ase|in|ogen"""
PARTS: Final = {
    "LETTER": "A|B|C|D|E|F|G|H|K|L|M|N|P|R|S|T|V|Z",
    "STEM": "aden|arthr|bronch|cardi|cerebr|chondr|cyst|derm|enter|gastr|hepat|lymph|mening|my|nephr|neur|ocul|oste"
    "|pancreat|pharyng|pulmon|rhin|splen|tend|thyr|trache|vascul|ventricul",
}

# Relation, display relation, rows, and for each end: type, share of its nodes that take part, how unequal they are.
# Drawn from top to bottom; where the first share is 1, the nodes that have no edge so far get one.
RELATIONS: Final = """\
anatomy_anatomy             parent-child               28064  anatomy 1 .3               anatomy 1 .3
bioprocess_bioprocess       parent-child              105772  biological_process 1 .3    biological_process 1 .3
cellcomp_cellcomp           parent-child                9690  cellular_component 1 .3    cellular_component 1 .3
disease_disease             parent-child               64388  disease 1 .3               disease 1 .3
exposure_exposure           parent-child                4140  exposure 1 .3              exposure 1 .3
molfunc_molfunc             parent-child               27148  molecular_function 1 .3    molecular_function 1 .3
pathway_pathway             parent-child                5070  pathway 1 .3               pathway 1 .3
phenotype_phenotype         parent-child               37472  effect/phenotype 1 .3      effect/phenotype 1 .3
anatomy_protein_present     expression present       3036406  gene/protein 1 .3          anatomy .02 .3
anatomy_protein_absent      expression absent          39774  gene/protein .3 .2         anatomy .01 .3
protein_protein             ppi                       642150  gene/protein .68 .4        gene/protein .68 .4
bioprocess_protein          interacts with            289610  biological_process .42 .5  gene/protein .64 .3
cellcomp_protein            interacts with            166804  cellular_component .41 .8  gene/protein .68 .2
molfunc_protein             interacts with            139060  molecular_function .38 1.3  gene/protein .62 .2
pathway_protein             interacts with             85292  pathway .85 .4             gene/protein .38 .3
disease_protein             associated with           160822  disease .33 .5             gene/protein .3 .4
phenotype_protein           associated with             6660  effect/phenotype .06 .4    gene/protein .06 .4
disease_phenotype_positive  phenotype present         300634  disease .45 .3             effect/phenotype .6 .6
disease_phenotype_negative  phenotype absent            2386  disease .05 .3             effect/phenotype .04 .4
drug_drug                   synergistic interaction  2672628  drug .5376 .2              drug .5376 .2
drug_effect                 side effect               129568  drug .12 .3                effect/phenotype .27 .5
contraindication            contraindication           61350  drug .16 .3                disease .1 .5
indication                  indication                 18776  drug .2 .3                 disease .09 .5
off-label use               off-label use               5136  drug .09 .3                disease .05 .5
exposure_disease            linked to                   4608  exposure .6 .5             disease .02 .4
exposure_bioprocess         interacts with              3250  exposure .5 .5             biological_process .01 .4
exposure_protein            interacts with              2424  exposure .4 .5             gene/protein .01 .4
exposure_molfunc            interacts with                90  exposure .03 .3            molecular_function .001 .3
exposure_cellcomp           interacts with                20  exposure .01 .3            cellular_component .001 .3
drug_protein                carrier                     1728  drug .07 .3                gene/protein .003 .5
drug_protein                enzyme                     10634  drug .2 .3                 gene/protein .015 .6
drug_protein                transporter                 6184  drug .12 .3                gene/protein .01 .6
drug_protein                target                     32760  drug 1 .3                  gene/protein .1 .5"""


class Relation(NamedTuple):
    """A line of :data:`RELATIONS`."""

    name: str
    display: str
    rows: int
    ends: tuple[NodeType, NodeType]
    shares: tuple[float, float]
    skews: tuple[float, float]


class Counts(NamedTuple):
    """What was written: nodes by type, rows by relation."""

    nodes: dict[str, int]
    rows: dict[str, int]


def read_table(table: str) -> list[list[str]]:
    """Returns the values of each line."""
    return [re.split(" {2,}", line) for line in table.splitlines()]


def read_relations() -> list[Relation]:
    """Returns :data:`RELATIONS`."""
    relations = []
    for name, display, rows, *ends in read_table(RELATIONS):
        (x, *x_numbers), (y, *y_numbers) = map(str.split, ends)
        shares, skews = zip(map(float, x_numbers), map(float, y_numbers), strict=True)
        relations.append(Relation(name, display, int(rows), (NodeType(x), NodeType(y)), shares, skews))
    return relations


def write_kg(path: Path, scale: float = 1.0, seed: int = 0) -> Counts:
    """Writes the graph to ``path``, gzipped where that ends in .gz."""
    if not 0.01 <= scale <= 1:
        raise ValueError(f"scale is {scale}, allowed is 0.01 to 1")
    relations = read_relations()
    edges = [max(1, round(relation.rows / 2 * scale)) for relation in relations]
    sizes = {NodeType(kind): round(int(nodes) * scale) for kind, nodes, *_ in read_table(KINDS)}
    rows: dict[str, int] = {}
    for (name, _, _, (x, y), *_), count in zip(relations, edges, strict=True):
        rows[name] = rows.get(name, 0) + 2 * count
        if x == y:
            sizes[x] = max(sizes[x], math.ceil(math.sqrt(2 * count / DENSEST)))
    pairs = draw_edges(np.random.default_rng(seed), relations, edges, sizes)
    x_nodes = pa.array(describe_nodes(sizes), pa.string())
    y_nodes = pc.binary_join_element_wise(x_nodes, "\n", "")
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            file = stack.enter_context(gzip.GzipFile("", "wb", 1, file, mtime=0))
        file.write((",".join(COLUMNS) + "\n").encode())
        for relation, ends in zip(relations * 2, pairs + [ends[::-1] for ends in pairs], strict=True):
            for start in range(0, ends.shape[1], BLOCK_ROWS):
                xs, ys = (pa.array(end[start : start + BLOCK_ROWS]) for end in ends)
                parts = f"{relation.name},{relation.display}", x_nodes.take(xs), y_nodes.take(ys)
                lines = pc.binary_join_element_wise(*parts, ",")
                # An array's strings lie one after the other in memory, just as the file wants them.
                file.write(memoryview(lines.buffers()[2])[: pc.sum(pc.binary_length(lines)).as_py()])
    return Counts({str(kind): size for kind, size in sizes.items()}, rows)


def draw_edges(
    rng: np.random.Generator, relations: list[Relation], edges: list[int], sizes: dict[NodeType, int]
) -> list[NDArray[np.int64]]:
    """Returns the node indexes of each relation's edges, one row for each end."""
    first = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
    fame = {kind: rng.random(size) for kind, size in sizes.items()}
    bare = np.ones(sum(sizes.values()), bool)
    drawn = []
    for relation, count in zip(relations, edges, strict=True):
        # A node that is a hub in one relation tends to be one in the others.
        order = {kind: np.argsort(fame[kind] + rng.random(sizes[kind]) / 2) for kind in relation.ends}
        limits = [sizes[kind] for kind in relation.ends]
        active = [max(1, round(share * limit)) for share, limit in zip(relation.shares, limits, strict=True)]
        halves = 2 if relation.ends[0] == relation.ends[1] else 1
        while active != limits and count > DENSEST * math.prod(active) / halves:
            active = [min(n + n // 8 + 1, limit) for n, limit in zip(active, limits, strict=True)]
        nodes = [first[kind] + order[kind][:n] for kind, n in zip(relation.ends, active, strict=True)]
        drawn.append(draw_pairs(rng, relation, nodes, bare, count))
        bare[drawn[-1]] = False
    return drawn


def draw_pairs(
    rng: np.random.Generator, relation: Relation, nodes: list[NDArray[np.int64]], bare: NDArray[np.bool_], edges: int
) -> NDArray[np.int64]:
    """Returns distinct pairs of ``nodes``, of which those at the front are drawn most often."""
    same = relation.ends[0] == relation.ends[1]
    ranks = [(np.arange(len(end)) + 0.5) / len(end) for end in nodes]
    weights = [rank**-skew * (1 - rank) for rank, skew in zip(ranks, relation.skews, strict=True)]

    def draw(end: int, count: int) -> NDArray[np.int64]:
        return rng.choice(nodes[end], count, p=weights[end] / weights[end].sum())

    def add(x: NDArray[np.int64], y: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
        if same:
            x, y = np.minimum(x, y)[x != y], np.maximum(x, y)[x != y]
        keys = np.sort(np.concatenate([keys, x * len(bare) + y]))
        return keys[np.diff(keys, prepend=-1) > 0]

    x = y = none = np.empty(0, np.int64)
    if relation.shares[0] == 1 and same:
        # A tree: each node hangs from one before it.
        child = np.arange(1, len(nodes[0]))[-edges:]
        x, y = nodes[0][(child * rng.random(len(child)) ** 2).astype(np.int64)], nodes[0][child]
    elif relation.shares[0] == 1:
        x = nodes[0][bare[nodes[0]]][:edges]
        y = draw(1, len(x))
    keys = needed = add(x, y, none)
    while len(keys) < edges:
        count = 2 * (edges - len(keys)) + 1000
        keys = add(draw(0, count), draw(1, count), keys)
    others = rng.permutation(np.setdiff1d(keys, needed, assume_unique=True))
    return np.stack(np.divmod(np.concatenate([needed, others[: edges - len(needed)]]), len(bare)))


def describe_nodes(sizes: dict[NodeType, int]) -> list[str]:
    """Returns the five columns of each node as they stand in a row."""
    names = {NodeType(kind): make_names(parts, sizes[NodeType(kind)]) for kind, *_, parts in read_table(KINDS)}
    plant_traps(names)
    text = io.StringIO()
    writer, index = csv.writer(text, lineterminator="\n"), itertools.count()
    for kind, _, source, id_format, _ in read_table(KINDS):
        for n, name in enumerate(names[NodeType(kind)]):
            grouped = kind == NodeType.disease and n % GROUP_EVERY == 0
            numbers = [1000 + 3 * n + 60_000 * part for part in range(2 + n // GROUP_EVERY % 11 if grouped else 1)]
            node_id = "_".join(map(id_format.format, numbers))
            writer.writerow([next(index), node_id, kind, name, f"{source}_grouped" if grouped else source])
    return text.getvalue().splitlines()


def make_names(parts: str, count: int) -> list[str]:
    """Returns distinct names: all that the parts give, then the same with numbers."""
    slots = [PARTS.get(part, part).replace("_", " ").split("|") for part in parts.split(" ")]
    plain = ["".join(reversed(chosen)) for chosen in itertools.product(*reversed(slots))]
    return [plain[n % len(plain)] + (f" {1 + n // len(plain)}" if n >= len(plain) else "") for n in range(count)]


def plant_traps(names: dict[NodeType, list[str]]) -> None:
    """Gives some nodes the odd names that the original has."""
    for listed in names.values():
        listed[3::TRAP_EVERY] = [f'{name}, the "{name[:4]}" form' for name in listed[3::TRAP_EVERY]]
        listed[4::TRAP_EVERY] = [f"{name} of Ménière’s β-type" for name in listed[4::TRAP_EVERY]]
    for n in range(5, len(names[NodeType.exposure]), TRAP_EVERY):
        names[NodeType.exposure][n] = names[NodeType.protein][n] = names[NodeType.drug][n]
    for n in range(6, len(names[NodeType.phenotype]), TRAP_EVERY):
        names[NodeType.phenotype][n] = names[NodeType.disease][n].capitalize()


if __name__ == "__main__":
    started = time.perf_counter()
    counts = write_kg(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
    seconds = time.perf_counter() - started
    print(f"{sum(counts.nodes.values()):,} nodes, {sum(counts.rows.values()):,} rows, {seconds:.1f} s")
