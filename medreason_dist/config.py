"""The configuration of every job: frozen dataclasses, merged as schema ← YAML ← ``KEY=VALUE``.

One file serves all jobs; each reads its part. Unknown keys are refused, naming the nearest known one. A field whose
metadata says ``affects_results=False`` may change between two starts of the same run (:func:`result_keys`).
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medreason_dist.errors import ConfigError
from medreason_dist.schemas import Benchmark, Dataset

C = TypeVar("C")

NEUTRAL = {"affects_results": False}
"""Metadata of a field that may change without changing any result."""


class Method(StrEnum):
    """How reasoning is written. It is tried in the same way, whichever wrote it."""

    medreason = "medreason"
    """From shortest paths of the knowledge graph between the entities of question and answer."""
    plain_cot = "plain_cot"
    """Plain chain of thought, from the question alone: what the former is compared with. Needs no graph."""


class NeighborhoodsEngine(StrEnum):
    """What expands the neighborhoods."""

    spark = "spark"
    """Spark with GraphFrames: any size, laptop or cluster. Needs Java."""
    local = "local"
    """A process pool on this machine, with the same kernel. Needs no Java."""


class Expand(StrEnum):
    """How Spark expands the neighborhoods. The result is the same."""

    broadcast = "broadcast"
    """Every task holds the whole adjacency and expands its seeds by itself: fastest while the adjacency fits."""
    messages = "messages"
    """GraphFrames' aggregateMessages, hop by hop: no task holds the graph. Meant for a list of seeds."""


class Lookup(StrEnum):
    """Where the workers take a node's hops from. The result is the same."""

    adjacency = "adjacency"
    """Computed from the adjacency, which is mapped into memory: fastest while it fits."""
    neighborhoods = "neighborhoods"
    """Read from the stored neighborhoods, bucket by bucket."""


class EngineKind(StrEnum):
    """What completes prompts."""

    vllm = "vllm"
    """vLLM's AsyncLLM inside the worker, on GPU or CPU."""
    openai = "openai"
    """Any endpoint that speaks the OpenAI chat completions protocol."""
    scripted = "scripted"
    """Recorded completions, for tests."""


class StructuredOutputs(StrEnum):
    """How an OpenAI-compatible endpoint is asked for the form of a reply."""

    vllm = "vllm"
    """JSON schema by ``response_format``, choices and regular expressions by vLLM's ``structured_outputs``."""
    json_schema = "json_schema"
    """JSON schema by ``response_format``; choices and sections by the prompt alone."""
    none = "none"
    """By the prompt alone."""


@dataclass(frozen=True)
class RunConfig:
    """The run and its folder."""

    method: Method = Method.medreason
    """``medreason`` writes reasoning from paths of the knowledge graph; ``plain_cot``, to be compared with it, from the
    question alone: neither the graph nor ``embeddings``, ``linking`` and ``paths`` are used then."""

    uri: str = "runs/run"
    """Folder or ``s3://bucket/prefix`` that the run writes. The same command on the same folder resumes the run."""

    limit: int | None = None
    """At most so many questions, the first in content-id order, so that a larger limit extends a smaller one. ``null``
    for all."""

    seed: int = 0
    """Every random choice derives from this and the question's id."""

    shard_questions: int = 64
    """Questions a shard: the unit of work, retry and output."""

    flush_s: float = field(default=5.0, metadata=NEUTRAL)
    """Seconds after which a worker writes the completions that it got: what a killed one loses at most."""

    drain_s: float = field(default=60.0, metadata=NEUTRAL)
    """Seconds that a stopped run (SIGTERM, Ctrl-C, ``ray job stop``) gives its requests under way to complete."""


@dataclass(frozen=True)
class DecontaminationConfig:
    """How questions are compared with the benchmarks of ``questions.decontaminate``: docs/questions.md."""

    exact: bool = True
    """The same words in the same order."""

    ngram_overlap: bool = True
    """Long pieces in common: a share of the shorter one's n-grams of words."""

    near_duplicate: bool = True
    """Small changes all over: Jaccard index of short n-grams of words, candidates by MinHash."""

    ngram_words: int = 8
    """Words of an n-gram of ``ngram_overlap``."""

    ngram_threshold: float = 0.5
    """Share of the shorter stem's n-grams, in one benchmark row, from which on a question is dropped."""

    shingle_words: int = 3
    """Words of an n-gram of ``near_duplicate``, here and in ``questions.deduplication``."""

    near_duplicate_threshold: float = 0.5
    """Jaccard index from which on a question is dropped."""

    near_duplicate_long_threshold: float = 0.3
    """The same where both stems are long."""

    long_words: int = 30
    """Words from which on a stem is long: only such are compared by ``ngram_overlap``, and without their options."""

    min_words: int = 12
    """A stem of fewer words says too little by itself («Which of the following is true?»): options must agree too."""


@dataclass(frozen=True)
class DeduplicationConfig:
    """How the questions of a run are compared with each other. Rows of equal content are always dropped."""

    near_duplicate: bool = True
    """Drop near-duplicates with the same answer and context."""

    threshold: float = 0.8
    """Jaccard index of word n-grams, as in ``questions.decontamination``, from which on the later one is dropped."""


@dataclass(frozen=True)
class QuestionsConfig:
    """Where questions come from."""

    sources: dict[str, str] = field(default_factory=dict)
    """One entry a dataset: its released file, or a folder of such files (``.jsonl``, ``.json``, ``.parquet``, the first
    two also as ``.gz``). Datasets: medqa, medmcqa, pubmedqa, pubmedqa_artificial, pubmedqa_unlabeled, mmlu, medxpertqa,
    huatuo, hle."""

    decontaminate: dict[str, str] = field(default_factory=dict)
    """One entry a benchmark: a file of its questions, or a folder of such files, whose rows hold the question in
    ``question``, ``Question``, ``problem_text`` or ``QUESTION``. A question that is found in one of them is dropped as
    ``contaminated``."""

    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    """How they are compared."""

    deduplication: DeduplicationConfig = field(default_factory=DeduplicationConfig)
    """How questions are compared with each other."""


@dataclass(frozen=True)
class GraphConfig:
    """The knowledge graph."""

    source: str = "kg.csv"
    """PrimeKG's ``kg.csv``, plain or ``.gz``."""

    wrong_rows_limit: int = 0
    """Rows of the csv that may be wrong (a missing value, an unknown type, a node with two names, …). They are left out
    and written to ``wrong_rows/``, each with its line; more than these stop the build."""

    uri: str = "graph"
    """Folder or ``s3://bucket/prefix`` that holds nodes, edges, neighborhoods and embeddings."""

    lookup: Lookup = field(default=Lookup.adjacency, metadata=NEUTRAL)
    """Where the workers take a node's hops from: ``adjacency`` or ``neighborhoods``."""

    cache_bytes: int = field(default=256 * 1024**2, metadata=NEUTRAL)
    """Memory of one worker for hops that it keeps (``adjacency``) or for buckets (``neighborhoods``, one at least)."""


@dataclass(frozen=True)
class NeighborhoodsConfig:
    """How ``build_neighborhoods`` expands the graph."""

    engine: NeighborhoodsEngine = NeighborhoodsEngine.spark
    """``spark`` or ``local``."""

    expand: Expand = Expand.broadcast
    """``broadcast`` or ``messages``; only for ``engine=spark``."""

    radius: int = 2
    """Hops around every node. All shortest paths of up to twice as many hops can be found."""

    seeds: list[int] | None = None
    """Only the neighborhoods of these nodes (``node_index``). ``null`` for all nodes."""

    buckets: int = 32
    """Folders ``bucket=<n>/`` that the neighborhoods are spread over, by ``seed mod buckets``."""

    broadcast_limit_bytes: int = 2 * 1024**3
    """``expand=broadcast`` refuses a larger adjacency."""

    limit_bytes: int = 8 * 1024**3
    """Refuses in advance to write neighborhoods that would take more, by an estimate from a sample of the seeds."""

    processes: int | None = None
    """Processes of ``engine=local``. ``null`` for one a core."""


@dataclass(frozen=True)
class EmbeddingsConfig:
    """How ``embed_entities`` embeds node names, and the workers embed mentions."""

    model: str = "abhinand/MedEmbed-large-v0.1"
    """A sentence-transformers model: folder or hub name. The default is the paper's choice."""

    batch_size: int = 256
    """Names a forward pass."""

    workers: int = 1
    """Ray actors that embed node names."""

    num_gpus: float = 0
    """GPUs of each such actor."""

    num_cpus: float = 1
    """CPUs of each such actor; Ray gives torch as many threads."""


@dataclass(frozen=True)
class LinkingConfig:
    """How mentions become entities."""

    top_k: int = 5
    """Nearest names by embedding that are candidates for a mention without an exact or alias match."""

    min_score: float = 0.6
    """Cosine similarity below which a name is no candidate."""

    certain_score: float = 0.95
    """Cosine similarity from which the nearest name is taken without asking the engine."""

    max_mentions: int = 12
    """Mentions that are linked on each side (question, answer), in order of appearance."""

    max_tokens: int = 1024
    """Token limit of the completion that extracts mentions, and of the one that decides between candidates."""


@dataclass(frozen=True)
class PathsConfig:
    """Which paths are found, offered and kept."""

    max_candidates: int = 50
    """Shortest paths of a pair of entities from which the engine may choose: of more, the best by the path degree
    product, which takes hubs for what they say."""

    top_k: int = 3
    """Paths of a pair that the engine may keep. A pair that has no more than these keeps them without a request."""

    prompt_tokens: int = 1024
    """Token budget of the paths in one prompt, best-ranked first."""

    max_pairs: int = 16
    """Pairs of a question entity and an answer entity that are offered, nearest first."""


@dataclass(frozen=True)
class TraceConfig:
    """How the reasoning is written and tried."""

    max_tokens: int = 1024
    """Token limit of the completion that writes the reasoning."""

    section_sentences: int = 40
    """Most sentences (or lines) of a section of a trace that the guided output admits."""

    attempts: int = 1
    """Times that a question's reasoning is written anew, with another seed, until one is accepted."""

    answer_tokens: int = 128
    """Token limit of an open answer from the reasoning, and of the judge."""

    min_words: int = 8
    """Words that a reasoning must still have once its answer statements are removed."""


@dataclass(frozen=True)
class EngineConfig:
    """What completes prompts. ``max_model_len`` to ``trust_remote_code`` are vLLM's ``EngineArgs``; null: its default."""

    kind: EngineKind = EngineKind.vllm
    """``vllm``, ``openai`` or ``scripted``."""

    model: str = ""
    """vLLM: folder, hub name or ``s3://bucket/prefix``, of which each machine keeps a copy. openai: the endpoint's model
    name. scripted: a JSON file of completions."""

    revision: str | None = None
    """Revision of a hub model."""

    temperature: float = 0.0
    """Sampling temperature of the reasoning; every other stage is greedy."""

    sampling_params: dict[str, Any] = field(default_factory=dict)
    """Any other of vLLM's ``SamplingParams`` of the reasoning by its own name, such as ``top_p`` or
    ``repetition_penalty``. openai: sent along as they are."""

    base_url: str | None = field(default=None, metadata=NEUTRAL)
    """openai: the endpoint, such as ``http://localhost:8000/v1``."""

    api_key_env: str = field(default="OPENAI_API_KEY", metadata=NEUTRAL)
    """openai: the environment variable that holds the key. Unset is allowed for endpoints that ask for none."""

    max_concurrency: int = field(default=64, metadata=NEUTRAL)
    """openai: requests under way at once from one worker."""

    request_timeout_s: float = field(default=600.0, metadata=NEUTRAL)
    """Seconds that one request may take."""

    stall_timeout_s: float = field(default=300.0, metadata=NEUTRAL)
    """Seconds without any completion while requests are under way after which the engine counts as dead and its worker
    ends. Below ``request_timeout_s``, which would reject the questions."""

    max_retries: int = field(default=4, metadata=NEUTRAL)
    """openai: retries of a request after a connection error, 429 or 5xx, by the client library with backoff."""

    structured_outputs: StructuredOutputs = StructuredOutputs.vllm
    """openai: what the endpoint understands: ``vllm``, ``json_schema`` or ``none``. Replies are checked in any case."""

    max_model_len: int | None = None
    """Longest prompt and completion together, in tokens. openai: needed where the endpoint does not tell."""

    tensor_parallel_size: int = field(default=1, metadata=NEUTRAL)
    """GPUs that share one copy of the weights."""

    pipeline_parallel_size: int = field(default=1, metadata=NEUTRAL)
    """GPUs over which the layers are spread."""

    dtype: str = "auto"
    """Type of weights and activations."""

    quantization: str | None = None
    """Method of quantised weights."""

    kv_cache_dtype: str | None = None
    """Type of the key-value cache."""

    gpu_memory_utilization: float | None = field(default=None, metadata=NEUTRAL)
    """Share of a GPU's memory that vLLM takes."""

    max_num_seqs: int | None = field(default=None, metadata=NEUTRAL)
    """Sequences in one step of the engine."""

    max_num_batched_tokens: int | None = field(default=None, metadata=NEUTRAL)
    """Tokens in one step of the engine."""

    enforce_eager: bool | None = field(default=None, metadata=NEUTRAL)
    """No compilation and no CUDA graphs: starts sooner, runs slower."""

    enable_prefix_caching: bool = field(default=True, metadata=NEUTRAL)
    """Keep the key-value cache of shared prompt prefixes."""

    trust_remote_code: bool = False
    """Run code that a model's repository carries."""

    vllm_args: dict[str, Any] = field(default_factory=dict)
    """Any other of vLLM's ``EngineArgs`` by its own name."""

    env: dict[str, str] = field(default_factory=dict, metadata=NEUTRAL)
    """Environment variables that vLLM reads when it starts, such as ``VLLM_CPU_KVCACHE_SPACE``."""


VLLM_GPU_MEMORY_UTILIZATION: Final = 0.92
"""What vLLM 0.32 takes by default."""


@dataclass(frozen=True)
class WorkersConfig:
    """The Ray actors of ``generate``."""

    count: int = field(default=1, metadata=NEUTRAL)
    """Actors, each with an engine of its own."""

    num_gpus: float = field(default=1, metadata=NEUTRAL)
    """GPUs of each actor; 0 on CPU."""

    num_cpus: float = field(default=1, metadata=NEUTRAL)
    """CPUs of each actor, as Ray counts them."""

    shards_in_flight: int = field(default=2, metadata=NEUTRAL)
    """Shards that an actor works on at once, so that the tail of one overlaps the head of the next."""


@dataclass(frozen=True)
class SparkConfig:
    """The Spark session of ``build_neighborhoods``."""

    master: str | None = field(default=None, metadata=NEUTRAL)
    """Spark master; ``null`` leaves it to spark-submit, or to ``local[*]`` without it."""

    graphframes_jar: str | None = field(default=None, metadata=NEUTRAL)
    """A jar file with GraphFrames' JVM half. ``null`` fetches the one that fits from Maven by spark.jars.packages."""

    conf: dict[str, Any] = field(default_factory=dict, metadata=NEUTRAL)
    """Spark's own configuration: ``spark.conf.<key>``, such as ``spark.conf.spark.driver.memory=4g``."""


@dataclass(frozen=True)
class StorageConfig:
    """How ``s3://`` is reached. Credentials come from the AWS environment, as boto3 finds them."""

    endpoint_url: str | None = field(default=None, metadata=NEUTRAL)
    """Endpoint of an S3 protocol server other than AWS."""

    region: str | None = field(default=None, metadata=NEUTRAL)
    """AWS region."""

    sse: str | None = field(default=None, metadata=NEUTRAL)
    """Server-side encryption that objects are written with: ``AES256`` or ``aws:kms``. ``null`` leaves it to the bucket."""

    sse_kms_key_id: str | None = field(default=None, metadata=NEUTRAL)
    """Id or ARN of the key for ``aws:kms``. ``null`` for the account's own."""

    retry_s: float = field(default=60.0, metadata=NEUTRAL)
    """Seconds of faults that may pass (an outage, throttling, an answer that breaks off) after which an operation
    fails. Until then it is repeated, with exponential backoff and jitter."""


@dataclass(frozen=True)
class PlanConfig:
    """What ``generate --plan`` expects of a run."""

    sample: int = field(default=64, metadata=NEUTRAL)
    """Questions that one worker's engine is tried on. The engine is loaded as in the run from
    ``workers.shards_in_flight`` times ``run.shard_questions`` on."""

    rates: str | None = field(default=None, metadata=NEUTRAL)
    """A forecast that an earlier ``--plan`` wrote, whose rates are taken instead of a sample: file or ``s3://``."""

    file: str | None = field(default=None, metadata=NEUTRAL)
    """Where ``--plan`` writes its forecast as JSON (file or ``s3://``), and where the run takes it from, to hold it
    beside what came in its manifest. ``null``: it is only printed."""

    price_per_gpu_hour: float | None = field(default=None, metadata=NEUTRAL)
    """Price of one GPU for one hour, in any currency. ``null``: no cost is told."""


class EvaluatePrompt(StrEnum):
    """How a benchmark's question is asked."""

    reasoned = "reasoned"
    """Reason step by step, then state the answer on a last line, in a form that is given."""
    plain = "plain"
    """The question and its options without any instruction on form, as the MedReason authors ask by default."""
    direct = "direct"
    """The letter alone, by constrained decoding: no reasoning."""
    chat = "chat"
    """Word for word as a published dataset's chats ask: for a model that was fine-tuned on them."""


@dataclass(frozen=True)
class EvaluateConfig:
    """How ``evaluate`` scores ``engine`` on benchmarks. Of its keys ``engine.temperature`` alone does not apply."""

    uri: str = "runs/evaluation"
    """Folder or ``s3://bucket/prefix`` that the evaluation writes. The same command on the same folder resumes it."""

    benchmarks: dict[str, str] = field(default_factory=dict)
    """One entry a benchmark: its released file, or a folder of such files. Benchmarks: medqa, medmcqa, mmlu, pubmedqa,
    medbullets_op4, medbullets_op5, medxpertqa, hle."""

    limit: int | None = None
    """At most so many questions of each benchmark, the first in content-id order. ``null`` for all."""

    invalid_limit: int = 0
    """Rows of each benchmark that may be unfit to be asked. They are left out and counted; more than these stop."""

    prompt: EvaluatePrompt = EvaluatePrompt.reasoned
    """``reasoned``, ``plain``, ``direct`` or ``chat``."""

    system_prompt: str | None = None
    """First message of every question with ``prompt=chat``: the ``publish.system_prompt`` of the dataset that the model
    learned from, which ``compare`` sets. ``null`` for none."""

    samples: int = 1
    """Completions of each question, whose mean is its score (pass@1)."""

    temperature: float = 0.0
    """Sampling temperature."""

    max_tokens: int = 2048
    """Token limit of a completion."""

    compare: list[str] = field(default_factory=list, metadata=NEUTRAL)
    """Folders of finished evaluations, which the comparison shows beside this one."""


@dataclass(frozen=True)
class PublishConfig:
    """What ``publish_dataset`` makes of the run at ``run.uri``."""

    uri: str = field(default="datasets/dataset", metadata=NEUTRAL)
    """Folder or ``s3://bucket/prefix`` that the dataset is written to: an empty one, or that of the same dataset."""

    name: str | None = field(default=None, metadata=NEUTRAL)
    """Title of the dataset card. ``null`` for one that says by what ``run.method`` the reasoning was written."""

    license: str = field(default="other", metadata=NEUTRAL)
    """Licence of the dataset by its identifier on the Hugging Face Hub. The card lists those of the sources."""

    splits: dict[str, float] = field(
        default_factory=lambda: {"train": 0.9, "validation": 0.05, "test": 0.05}, metadata=NEUTRAL
    )
    """Share of each split, 1 in sum; 0 leaves one out. A question's id decides, so that it stays in its split however
    large the run grows."""

    system_prompt: str | None = field(default=None, metadata=NEUTRAL)
    """First message of every chat. ``null`` for none."""

    file_bytes: int = field(default=64 * 1024**2, metadata=NEUTRAL)
    """Uncompressed size from which on a Parquet file is written. One of each split is held in memory."""

    allow_unfinished: bool = field(default=False, metadata=NEUTRAL)
    """Publish the shards that an unfinished run has. The card says so."""

    allow_undecontaminated: bool = field(default=False, metadata=NEUTRAL)
    """Publish a run whose questions were compared with no benchmark. The card says so."""


class Target(StrEnum):
    """What a model learns to answer a question with."""

    medreason = "medreason"
    """The reasoning along the knowledge graph's paths, then the answer."""
    plain_cot = "plain_cot"
    """A chain of thought without the graph, then the answer: of a dataset whose run has ``run.method=plain_cot``."""
    answer_only = "answer_only"
    """The answer alone, of either dataset."""


@dataclass(frozen=True)
class FinetuneConfig:
    """How ``finetune`` trains ``finetune.model`` on a published dataset. Names from ``learning_rate`` to
    ``gradient_checkpointing`` are those of transformers' ``TrainingArguments``, which TRL's ``SFTConfig`` extends."""

    uri: str = field(default="runs/finetune", metadata=NEUTRAL)
    """Folder or ``s3://bucket/prefix`` that the fine-tuning writes: sequences, checkpoints, ``model/``, a page. The same
    command on the same folder resumes it."""

    dataset: str = field(default="datasets/dataset", metadata=NEUTRAL)
    """The published dataset: what ``publish.uri`` was."""

    target: Target = Target.medreason
    """``medreason``, ``plain_cot`` or ``answer_only``."""

    questions_of: list[str] = field(default_factory=list, metadata=NEUTRAL)
    """Other published datasets: only questions that all of them have are trained on, so that models which learn from
    different methods learn from the same questions."""

    train_split: str = "train"
    """Split that is trained on."""

    eval_split: str | None = "validation"
    """Split whose loss is taken before, while and after. ``null`` for none."""

    allow_undecontaminated: bool = field(default=False, metadata=NEUTRAL)
    """Train on a dataset that was compared with no benchmark. The manifest says so."""

    too_long_limit: int = 0
    """Chats of more than ``max_length`` tokens that may be left out. They are counted; more than these stop."""

    model: str = ""
    """The model to start from: folder, hub name or ``s3://bucket/prefix``."""

    revision: str | None = None
    """Revision of a hub model."""

    trust_remote_code: bool = False
    """Run code that a model's repository carries."""

    chat_template: str | None = None
    """File with a Jinja chat template, which replaces that of the model's tokenizer and is saved with the model."""

    model_args: dict[str, Any] = field(default_factory=dict)
    """Any arguments of transformers' ``from_pretrained``, such as ``attn_implementation=flash_attention_2``."""

    lora_rank: int | None = None
    """Rank of LoRA adapters on all linear layers, which are merged into the model in the end. ``null``: all weights are
    trained."""

    lora_alpha: int = 32
    """LoRA's scale is ``lora_alpha / lora_rank``."""

    lora_dropout: float = 0.0
    """Dropout of the adapters' input."""

    max_length: int = 8192
    """Tokens of a packed row. A chat is never cut."""

    num_train_epochs: float = 3.0
    """Passes over the data."""

    max_steps: int = -1
    """Optimiser steps, whatever ``num_train_epochs`` is. -1: by epochs."""

    per_device_train_batch_size: int = 1
    """Packed rows of a worker in one forward pass."""

    gradient_accumulation_steps: int = 1
    """Forward passes of a worker in one optimiser step."""

    learning_rate: float = 5e-6
    """Peak learning rate of AdamW."""

    lr_scheduler_type: str = "cosine"
    """Schedule after the warm-up."""

    warmup_steps: float = 0.05
    """Steps of linear warm-up; below 1 a share of all."""

    weight_decay: float = 0.1
    """AdamW's weight decay."""

    max_grad_norm: float = 1.0
    """Norm to which gradients are clipped."""

    bf16: bool = True
    """Compute in bfloat16. Trained weights and the optimiser's state stay float32."""

    gradient_checkpointing: bool = True
    """Compute activations anew in the backward pass rather than keep them."""

    fsdp: bool = False
    """Shard weights, gradients and the optimiser's state over the workers (torch's FSDP2)."""

    training_args: dict[str, Any] = field(default_factory=dict)
    """Any other of TRL's ``SFTConfig`` arguments by its own name, such as ``deepspeed`` (a file), ``optim`` or
    ``fsdp_config``."""

    logging_steps: int = field(default=10, metadata=NEUTRAL)
    """Steps between two lines of metrics."""

    eval_steps: int = field(default=100, metadata=NEUTRAL)
    """Steps between two measurements of the held-out loss."""

    save_steps: int = field(default=100, metadata=NEUTRAL)
    """Steps between two checkpoints: what a killed fine-tuning loses at most."""

    keep_checkpoints: int = field(default=2, metadata=NEUTRAL)
    """Checkpoints that are kept, the last ones."""

    num_workers: int = 1
    """Processes that train together, each on ``num_gpus``."""

    num_gpus: float = field(default=1, metadata=NEUTRAL)
    """GPUs of each worker: 1, or 0 on CPU."""

    num_cpus: float = field(default=1, metadata=NEUTRAL)
    """CPUs of each worker, as Ray counts them; Ray gives torch as many threads."""

    max_failures: int = field(default=2, metadata=NEUTRAL)
    """Times that lost workers are started anew from the last checkpoint."""


@dataclass(frozen=True)
class ReviewConfig:
    """What experts review blindly, and who: docs/review.md."""

    uri: str = field(default="reviews/review", metadata=NEUTRAL)
    """Folder or ``s3://bucket/prefix`` of the review. What reviewers send back goes into ``answers/`` in it."""

    dataset: str = field(default="datasets/dataset", metadata=NEUTRAL)
    """Published dataset whose traces are reviewed."""

    other: str | None = field(default=None, metadata=NEUTRAL)
    """Published dataset of another method: questions that both have are reviewed as pairs of traces. ``null`` for none."""

    splits: list[str] = field(default_factory=list, metadata=NEUTRAL)
    """Splits that questions are taken from; empty for all."""

    questions: int = field(default=50, metadata=NEUTRAL)
    """Questions of the sample; all where there are fewer. A larger sample of the same datasets extends a smaller one."""

    reviewers: list[str] = field(default_factory=list, metadata=NEUTRAL)
    """Pseudonyms, of letters, digits, ``-`` and ``_``. One that is added later gets the same questions."""


@dataclass(frozen=True)
class CompareConfig:
    """What ``compare`` does: generate, publish, fine-tune variants of ``finetune.model``, evaluate each."""

    uri: str = field(default="runs/comparison", metadata=NEUTRAL)
    """Folder or ``s3://bucket/prefix`` that holds every step's folder: ``run.uri``, ``publish.uri``, ``finetune.uri`` and
    ``evaluate.uri`` do not apply. The same command on the same folder resumes the comparison."""

    targets: list[Target] = field(
        default_factory=lambda: [Target.answer_only, Target.plain_cot, Target.medreason], metadata=NEUTRAL
    )
    """What the variants learn: of ``answer_only``, ``plain_cot``, ``medreason``. The model as it was is always evaluated."""

    same_questions: bool = field(default=True, metadata=NEUTRAL)
    """Fine-tune all variants on the same questions: those of which each method's reasoning was accepted."""

    evaluate_with: list[str] = field(default_factory=list, metadata=NEUTRAL)
    """Keys that are others for the evaluations, as on the command line, such as
    ``[engine.tensor_parallel_size=1, workers.count=8]`` where the engine that generates is larger than the variants."""

    allow_undecontaminated: bool = field(default=False, metadata=NEUTRAL)
    """Score on benchmark files that the questions were not compared with."""


@dataclass(frozen=True)
class ReportConfig:
    """What ``report`` prints and writes."""

    traces: int = field(default=2, metadata=NEUTRAL)
    """Accepted traces that are printed whole."""

    audit_rows: int = field(default=50_000, metadata=NEUTRAL)
    """Questions that can be opened in ``report.html``, each some 2 kB of it. Of more, the first by shard; the page's
    figures are about all, and it says how many are left out."""


@dataclass(frozen=True)
class Config:
    """The whole file."""

    run: RunConfig = field(default_factory=RunConfig)
    questions: QuestionsConfig = field(default_factory=QuestionsConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    neighborhoods: NeighborhoodsConfig = field(default_factory=NeighborhoodsConfig)
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    linking: LinkingConfig = field(default_factory=LinkingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    trace: TraceConfig = field(default_factory=TraceConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    judge: EngineConfig | None = None
    """The engine that judges open answers; the same keys as ``engine``. ``null`` for the same engine."""
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    spark: SparkConfig = field(default_factory=SparkConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    review: ReviewConfig = field(default_factory=ReviewConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


def load_config(schema: type[C], path: str | Path | None, dotlist: Sequence[str] = ()) -> C:
    """Returns a frozen ``schema`` merged from its defaults, the YAML file ``path`` and ``KEY=VALUE`` pairs.

    Raises :class:`ConfigError` for a missing or unreadable file, an unknown key, a wrong type or a value out of range.
    """
    # To build it from the dataclasses takes six times as long as to copy it (39 and 7 ms).
    return _merge(schema, copy.deepcopy(_defaults(cast(Any, schema))), path, dotlist)


def override_config(config: C, dotlist: Sequence[str]) -> C:
    """Returns a config with the values of ``KEY=VALUE`` pairs; raises as :func:`load_config` does."""
    return _merge(type(config), _writable(OmegaConf.structured(config)), None, dotlist)


@cache
def _defaults(schema: type[Any]) -> DictConfig:
    return _writable(OmegaConf.structured(schema))


def _merge(schema: type[C], base: DictConfig, path: str | Path | None, dotlist: Sequence[str]) -> C:
    merged = base
    layers: list[tuple[str, Any]] = []
    if path is not None:
        layers.append((str(path), _read_yaml(Path(path))))
    for pair in dotlist:
        if "=" not in pair:
            raise ConfigError(f"'{pair}' is not KEY=VALUE", "command line", "write for example run.limit=100")
        layers.append((f"command line: {pair}", _parse_pair(pair)))
    for where, layer in layers:
        for fault, remedy in _faults(schema, schema, OmegaConf.to_container(layer), ""):
            raise ConfigError(fault, where, remedy)
        try:
            merged = cast(DictConfig, OmegaConf.unsafe_merge(merged, layer))
        except OmegaConfBaseException as error:
            key = getattr(error, "full_key", None) or "?"
            reason = str(error).splitlines()[0]
            remedy = "see docs/configuration.md for its type"
            raise ConfigError(f"config key '{key}': {reason}", where, remedy) from None
    try:
        config = cast(C, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        reason = str(error).splitlines()[0]
        raise ConfigError(f"config key '{key}': {reason}", ", ".join(where for where, _ in layers)) from None
    if isinstance(config, Config):
        _require_ranges(config)
    return config


def show_config(config: Any) -> str:
    """Returns a resolved config as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a config as plain JSON-able values."""
    container = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    return cast(dict[str, Any], container)


def result_keys(config: Config) -> dict[str, Any]:
    """Returns those ``key: value`` pairs on which the rows of a run depend.

    Left out are the fields marked :data:`NEUTRAL`, where the run lies, how far it goes (``run.limit``) and how the
    graph was built (its manifest has a fingerprint of its own).
    """
    left_out = ("run.uri", "run.limit", "graph.", "neighborhoods.", "embeddings.", "evaluate.", "finetune.")
    return {key: value for key, value in _result_leaves(config) if not key.startswith(left_out)}


def evaluation_keys(config: Config) -> dict[str, Any]:
    """Returns those ``key: value`` pairs on which the rows of an evaluation depend, as :func:`result_keys` does.

    Left out are also where it lies, its files (whose digests a plan has) and how far it goes (``evaluate.limit``).
    """
    taken = ("run.seed", "engine.", "evaluate.")
    left_out = ("engine.temperature", "evaluate.uri", "evaluate.benchmarks", "evaluate.limit", "evaluate.invalid_limit")
    pairs = _result_leaves(config)
    return {key: value for key, value in pairs if key.startswith(taken) and not key.startswith(left_out)}


def finetune_keys(config: Config) -> dict[str, Any]:
    """Returns those ``key: value`` pairs on which a fine-tuned model depends, as :func:`result_keys` does."""
    pairs = _result_leaves(config)
    return {key: value for key, value in pairs if key == "run.seed" or key.startswith("finetune.")}


def _result_leaves(config: Config) -> Iterator[tuple[str, Any]]:
    """Yields the pairs that are not :data:`NEUTRAL`."""
    neutral = {key for key, metadata, _ in walk_fields(type(config)) if metadata == NEUTRAL}
    neutral |= {key.replace("engine.", "judge.", 1) for key in neutral if key.startswith("engine.")}
    for key, value in leaves(to_dict(config)):
        if not any(key == n or key.startswith(f"{n}.") for n in neutral):
            yield key, value


def walk_fields(schema: type[Any], prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yields ``(dotted key, metadata, field)`` for every leaf field of a config class, in order of definition."""
    for item in dataclasses.fields(schema):
        section = _section(item)
        if section is not None and item.name != "judge":
            yield from walk_fields(section, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", dict(item.metadata), item


def _section(item: dataclasses.Field[Any]) -> type[Any] | None:
    name = str(item.type).removesuffix(" | None")
    candidate = globals().get(name)
    return candidate if dataclasses.is_dataclass(candidate) and isinstance(candidate, type) else None


def _writable(node: DictConfig) -> DictConfig:
    # OmegaConf marks every nested frozen dataclass read-only, which forbids merging into it; to_object gives frozen
    # instances back all the same.
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _writable(child)
    return node


def _read_yaml(path: Path) -> Any:
    try:
        layer = OmegaConf.load(path)
    except FileNotFoundError:
        raise ConfigError("the config file does not exist", str(path), "see configs/ for examples") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"the config file is not readable YAML: {error}", str(path), "mend the file") from None
    if not isinstance(layer, DictConfig):
        raise ConfigError("the config file is not a mapping of keys", str(path), "see configs/ for examples")
    return layer


def _parse_pair(pair: str) -> Any:
    try:
        return OmegaConf.from_dotlist([pair])
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the value is not YAML: {reason}", f"command line: {pair}", "quote or mend it") from None


def _faults(schema: type[Any], section: type[Any], layer: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Yields ``(what, remedy)`` of each key that is unknown, and of each value that merging takes though it is no text."""
    fields = {item.name: item for item in dataclasses.fields(section)}
    for name, value in (layer or {}).items():
        key = f"{prefix}{name}"
        if name not in fields:
            yield f"unknown config key '{key}'", _nearest(schema, key)
        elif not isinstance(value, dict):
            continue
        elif (below := _section(fields[name])) is not None:
            yield from _faults(schema, below, value, f"{key}.")
        elif fields[name].type == "dict[str, str]":
            for each, held in value.items():
                if isinstance(held, list | dict):
                    yield f"config key '{key}.{each}' is {held}", "it must be text"


def _nearest(schema: type[Any], key: str) -> str:
    known = [known for known, _, _ in walk_fields(schema)]
    known += [name.replace("engine.", "judge.", 1) for name in known if name.startswith("engine.")]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not close:
        last = key.rpartition(".")[2]
        close = [k for k in known if k.rpartition(".")[2] == last][:1]
    return f"did you mean '{close[0]}'?" if close else "see docs/configuration.md for all keys"


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ``(dotted key, value)`` of nested dicts: Spark's dotted keys arrive nested from the command line."""
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from leaves(child, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def _require_gpus(config: Config) -> None:
    """Raises :class:`ConfigError` where a worker's GPUs are not those that its engines take."""
    num_gpus = config.workers.num_gpus
    engines = [each for each in (config.engine, config.judge) if each and each.kind is EngineKind.vllm]
    if not engines or num_gpus <= 0:
        return
    wanted = max(each.tensor_parallel_size * int(each.vllm_args.get("pipeline_parallel_size", 1)) for each in engines)
    if wanted > 1 and num_gpus != wanted:
        what = f"tensor_parallel_size and pipeline_parallel_size make {wanted} GPUs, a worker has {num_gpus:g}"
        raise ConfigError(what, "workers.num_gpus", f"set workers.num_gpus={wanted}")
    share = sum(each.gpu_memory_utilization or VLLM_GPU_MEMORY_UTILIZATION for each in engines)
    if share > min(num_gpus, 1):
        what = f"a worker's engines would take {share:g} of a GPU's memory, its part is {min(num_gpus, 1):g}"
        remedy = "lower gpu_memory_utilization of engine (and judge), or give each worker more of workers.num_gpus"
        raise ConfigError(what, "engine.gpu_memory_utilization", remedy)


def _require_decontamination(questions: QuestionsConfig) -> None:
    """Raises :class:`ConfigError` for a threshold out of range, and for benchmarks that nothing would compare with."""
    settings = questions.decontamination
    # Unrelated case reports reach a Jaccard index of 0.25, and below 0.3 nearly every row would be a candidate.
    thresholds = {
        "questions.decontamination.ngram_threshold": (settings.ngram_threshold, 0.1),
        "questions.decontamination.near_duplicate_threshold": (settings.near_duplicate_threshold, 0.3),
        "questions.decontamination.near_duplicate_long_threshold": (settings.near_duplicate_long_threshold, 0.3),
        "questions.deduplication.threshold": (questions.deduplication.threshold, 0.3),
    }
    for key, (number, least) in thresholds.items():
        if not least <= number <= 1:
            raise ConfigError(f"config key '{key}' is {number}", remedy=f"it must be from {least} to 1")
    if questions.decontaminate and not (settings.exact or settings.ngram_overlap or settings.near_duplicate):
        raise ConfigError(
            "every method of 'questions.decontamination' is off while 'questions.decontaminate' names benchmarks",
            remedy="leave one of exact, ngram_overlap, near_duplicate on, or name no benchmarks",
        )


def _require_ranges(config: Config) -> None:
    at_least_one = {
        "run.shard_questions": config.run.shard_questions,
        "run.limit": config.run.limit,
        "questions.decontamination.ngram_words": config.questions.decontamination.ngram_words,
        "questions.decontamination.long_words": config.questions.decontamination.long_words,
        "questions.decontamination.shingle_words": config.questions.decontamination.shingle_words,
        "questions.decontamination.min_words": config.questions.decontamination.min_words,
        "neighborhoods.radius": config.neighborhoods.radius,
        "neighborhoods.buckets": config.neighborhoods.buckets,
        "neighborhoods.processes": config.neighborhoods.processes,
        "embeddings.batch_size": config.embeddings.batch_size,
        "embeddings.workers": config.embeddings.workers,
        "linking.top_k": config.linking.top_k,
        "linking.max_mentions": config.linking.max_mentions,
        "paths.max_candidates": config.paths.max_candidates,
        "paths.top_k": config.paths.top_k,
        "paths.max_pairs": config.paths.max_pairs,
        "trace.attempts": config.trace.attempts,
        "plan.sample": config.plan.sample,
        "trace.section_sentences": config.trace.section_sentences,
        "workers.count": config.workers.count,
        "workers.shards_in_flight": config.workers.shards_in_flight,
        "report.audit_rows": config.report.audit_rows,
        "evaluate.limit": config.evaluate.limit,
        "evaluate.samples": config.evaluate.samples,
        "evaluate.max_tokens": config.evaluate.max_tokens,
        "publish.file_bytes": config.publish.file_bytes,
        "review.questions": config.review.questions,
        **_finetune_counts(config.finetune),
    }
    for key, number in at_least_one.items():
        if number is not None and number < 1:
            raise ConfigError(f"config key '{key}' is {number}", remedy="it must be 1 or more")
    _require_decontamination(config.questions)
    _require_gpus(config)
    if config.storage.sse not in (None, "AES256", "aws:kms"):
        raise ConfigError(f"config key 'storage.sse' is '{config.storage.sse}'", remedy="null, AES256 or aws:kms")
    if config.storage.sse_kms_key_id is not None and config.storage.sse != "aws:kms":
        raise ConfigError(
            "config key 'storage.sse_kms_key_id' is set while 'storage.sse' is not aws:kms",
            remedy="set storage.sse=aws:kms, or leave the key out",
        )
    if config.graph.wrong_rows_limit < 0:
        raise ConfigError(f"config key 'graph.wrong_rows_limit' is {config.graph.wrong_rows_limit}", remedy="0 or more")
    if config.trace.attempts > 1 and config.engine.temperature == 0:
        raise ConfigError(
            "config key 'trace.attempts' is more than 1 while 'engine.temperature' is 0: every attempt would be the same",
            remedy="set engine.temperature=0.7, or trace.attempts=1",
        )
    if config.evaluate.invalid_limit < 0:
        raise ConfigError(f"config key 'evaluate.invalid_limit' is {config.evaluate.invalid_limit}", remedy="0 or more")
    if config.evaluate.samples > 1 and config.evaluate.temperature == 0:
        raise ConfigError(
            "config key 'evaluate.samples' is more than 1 while 'evaluate.temperature' is 0: every sample would be the same",
            remedy="set evaluate.temperature=0.7, or evaluate.samples=1",
        )
    if config.evaluate.system_prompt and config.evaluate.prompt is not EvaluatePrompt.chat:
        raise ConfigError(
            f"config key 'evaluate.system_prompt' is set while 'evaluate.prompt' is {config.evaluate.prompt}",
            remedy="set evaluate.prompt=chat, or leave the key out: the other prompts have instructions of their own",
        )
    _require_splits(config.publish.splits)
    _require_members("questions.sources", config.questions.sources, "dataset", Dataset)
    _require_members("evaluate.benchmarks", config.evaluate.benchmarks, "benchmark", Benchmark)


def _finetune_counts(finetune: FinetuneConfig) -> dict[str, int | None]:
    """Returns the fields of which less than one makes no sense."""
    names = """lora_rank lora_alpha max_length per_device_train_batch_size gradient_accumulation_steps logging_steps
    eval_steps save_steps keep_checkpoints num_workers""".split()
    return {f"finetune.{name}": getattr(finetune, name) for name in names}


def _require_splits(shares: Mapping[str, float]) -> None:
    """Raises :class:`ConfigError` for splits that the datasets library cannot name, or that are not a whole."""
    for name in shares:
        if not re.fullmatch(r"[A-Za-z0-9_]+", name) or name == "all":
            raise ConfigError(f"config key 'publish.splits.{name}' names no split", remedy="letters, digits and _")
    if min(shares.values(), default=0) < 0 or abs(sum(shares.values()) - 1) > 1e-9:
        what = f"config key 'publish.splits' has shares of {sum(shares.values()):g} in sum"
        raise ConfigError(what, remedy="shares from 0 up that are 1 in sum, such as publish.splits.train=0.95 …")


def _require_members(section: str, names: Iterable[str], what: str, members: type[StrEnum]) -> None:
    """Raises :class:`ConfigError` for a name that is none of the members', naming the nearest."""
    known = [member.value for member in members]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise ConfigError(
                f"config key '{section}.{name}' names no {what}", remedy=f"{hint}{what}s are {', '.join(known)}"
            )
