"""medreason_dist: distributed generation of knowledge-grounded medical reasoning data.

    PrimeKG kg.csv ──► jobs/build_neighborhoods.py  (Spark + GraphFrames, or embedded) ──► graph/  nodes, edges, hops
                       jobs/embed_entities.py       (Ray Data)                         ──► graph/  embeddings
                                                                                             │
    QA files ────────► jobs/generate.py             (Ray Data + vLLM)                  ◄─────┘
      prepare   read the sources → one schema → content ids → dedup → decontaminate → question shards
      stream    shards → actors with one engine each; every question runs reasoning/program.py:
                extract → link → shortest paths → prune → write reasoning → answer from it alone → judge
      commit    one Parquet file a shard, accepted and rejected alike; the manifest last ──► a folder or s3://
                                                                                             │
                       jobs/report.py, jobs/publish_dataset.py                         ◄─────┤
                       jobs/finetune.py, jobs/evaluate.py, jobs/compare.py, jobs/review.py ◄─┘

Rooms: ``questions`` and ``graph`` make the input, ``reasoning`` is the pure program of one question, ``engines`` complete
its prompts, ``streaming`` takes shards of questions to workers on Ray, ``generation`` is the main job on it,
``evaluation`` the one that scores a model, ``report`` shows what came out, ``publishing`` hands it on, ``training``
fine-tunes a model on it, ``experiment`` joins these into the paper's comparison, ``review`` asks experts. Spark and Ray meet
only at published Parquet, whose schemas are in ``schemas``; all storage goes through ``storage``.
"""

__version__ = "0.1.0"
