"""The knowledge graph: PrimeKG's csv → nodes, edges, neighborhoods, embeddings, and the store that reads them.

primekg.py        kg.csv → tables of nodes and edges
adjacency.py      edges → compressed sparse rows with relation sets → rows of neighborhoods
khop.py           the numeric kernel, numpy only
neighborhoods.py  the build: plan, dispatch to local.py or spark.py, publish
store.py          what the workers read
embeddings.py     node names as vectors, and the nearest names to a text
"""
