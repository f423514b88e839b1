"""What is found in a benchmark and what is not: by kind of change, by method, on rows of our own and on the shared ones."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.decontamination import CHANGES, EXACT_ALONE, Text, count_found
from medreason_dist.config import Config, DecontaminationConfig, StorageConfig, load_config
from medreason_dist.errors import ConfigError, SourceError
from medreason_dist.questions.decontamination import BenchmarkIndex, BenchmarkRow, Match, Method, read_benchmarks
from medreason_dist.questions.similarity import comparable, jaccard, ngrams, overlap, shingle

ROOT = Path(__file__).parent.parent.parent
DEFAULTS = DecontaminationConfig()
GOUT = ("Which crystals are found in the joint fluid in gout?", ("Urate", "Apatite", "Oxalate", "Cystine"))
CASE = (
    "A 58-year-old man wakes at night with a hot, swollen great toe. He drinks beer on most days and takes a thiazide "
    "for his blood pressure. His temperature is 37.4, and the joint is too tender to be touched. Fluid drawn from it "
    "holds needle-shaped crystals that are negatively birefringent. What should he be given first?"
)
CHOICES = ("Naproxen", "Allopurinol", "Febuxostat", "Methotrexate")


def index_of(*texts: tuple[str, Sequence[str]], config: DecontaminationConfig = DEFAULTS) -> BenchmarkIndex:
    rows = (BenchmarkRow("bench", number, comparable(*text)) for number, text in enumerate(texts))
    return BenchmarkIndex(rows, config)


def find(text: tuple[str, Sequence[str]], *rows: tuple[str, Sequence[str]]) -> Match | None:
    return index_of(*rows).find(comparable(*text))


def only(method: Method, **settings: Any) -> DecontaminationConfig:
    return replace(DEFAULTS, **{other.value: other is method for other in Method}, **settings)


def quickstart_texts() -> list[Text]:
    lines = (ROOT / "examples/quickstart/medqa.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    return [Text(row["question"], tuple(row["options"].values())) for row in rows]


# Recall --------------------------------------------------------------------------------------------------------------


def test_changed_copies_of_case_reports_are_found() -> None:
    texts = quickstart_texts()
    counts = count_found("quickstart", texts, CHANGES, DEFAULTS)
    assert all(copies >= len(texts) - 1 for copies, _ in counts.values())
    missed = {kind: copies - found for kind, (copies, found) in counts.items() if found < copies}
    # A sentence may be most of a question; a fifth of the words leaves half of the trigrams.
    assert missed == {
        "a sentence removed": 1,
        "a sentence removed, option order": 1,
        "a fifth of the words replaced": 2,
    }
    exact = count_found("quickstart", texts, {"age": CHANGES["age"]}, EXACT_ALONE)
    assert exact["age"][1] == 0


def test_of_one_line_what_keeps_its_words_is_found() -> None:
    for kind in ("case", "punctuation", "option order", "case, option order", "no options"):
        assert count_found("one line", [Text(*GOUT)], {kind: CHANGES[kind]}, DEFAULTS)[kind] == (1, 1), kind


def test_shared_recall(shared: Path) -> None:
    rows = map(json.loads, (shared / "data/eval/medbullets_op4.jsonl").read_text(encoding="utf-8").splitlines())
    texts = [Text(row["question"], tuple(row["options"].values())) for row in itertools.islice(rows, 30)]
    kinds = ("case", "punctuation", "option order", "age", "a sentence removed", "age, a sentence removed")
    for kind, (copies, found) in count_found("medbullets", texts, {k: CHANGES[k] for k in kinds}, DEFAULTS).items():
        assert found == copies >= 29, kind


# What each method says -----------------------------------------------------------------------------------------------


def test_each_method_names_the_row_and_what_it_measured() -> None:
    cut = CASE.partition(" Fluid drawn")[0]
    words = CASE.split()
    words[::9] = ["word"] * len(words[::9])
    details = [find(text, GOUT, (CASE, CHOICES)) for text in ((CASE, ()), (cut, ()), (" ".join(words), CHOICES))]
    assert [(match.method, str(match.row), match.detail) for match in details if match] == [
        (Method.exact, "bench:1", "same question as bench:1"),
        (Method.ngram_overlap, "bench:1", "n-gram overlap with bench:1: 1.00 of the shorter one's word 8-grams"),
        (Method.near_duplicate, "bench:1", "near duplicate of bench:1: Jaccard 0.53 of word 3-grams"),
    ]


def test_a_method_that_is_off_finds_nothing() -> None:
    changed = (CASE.replace("58", "61"), CHOICES)
    found = {method: index_of((CASE, CHOICES), config=only(method)).find(comparable(*changed)) for method in Method}
    assert {method for method, match in found.items() if match} == {Method.ngram_overlap, Method.near_duplicate}
    same = comparable(CASE, CHOICES)
    assert all(index_of((CASE, CHOICES), config=only(method)).find(same) for method in Method)


def test_overlap_is_that_of_all_pairs() -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abc", k=rng.randint(1, 14))) for _ in range(60)]
    for threshold in (0.3, 0.5, 0.9):
        config = only(Method.ngram_overlap, ngram_words=3, ngram_threshold=threshold, long_words=4)
        index = index_of(*((text, ()) for text in texts[:40]), config=config)
        for text in texts[40:]:
            long = [other for other in texts[:40] if min(len(other.split()), len(text.split())) >= 4]
            values = [overlap(ngrams([text], 3), ngrams([other], 3)) for other in long]
            match = index.find(comparable(text, ()))
            if max(values, default=0) >= threshold:
                assert match is not None
                assert match.row.question.stem == long[values.index(max(values))]
            else:
                assert match is None


def test_near_duplicates_are_verified_by_their_jaccard_index() -> None:
    rng = random.Random(2)
    words = [f"w{number}" for number in range(300)]
    row = " ".join(rng.sample(words, 60))
    index = index_of((row, ()), config=only(Method.near_duplicate))
    results = []
    for share in [0.05, 0.1, 0.15, 0.2, 0.25] * 12:
        changed = CHANGES["one word replaced"](Text(row, ()), rng)
        for _ in range(round(60 * share)):
            changed = CHANGES["one word replaced"](changed or Text(row, ()), rng)
        assert changed is not None
        value = jaccard(shingle(comparable(*changed), 3).stem, shingle(comparable(row, ()), 3).stem)
        match = index.find(comparable(*changed))
        results.append((value >= 0.3, match is not None))
        assert match is None or match.detail.endswith(f"Jaccard {value:.2f} of word 3-grams")
    assert not any(found for alike, found in results if not alike)
    alike = [found for alike, found in results if alike]
    assert 20 < len(alike) < 60
    assert sum(alike) >= len(alike) - 1


# What is not the same ------------------------------------------------------------------------------------------------

STEMS = (
    "Which of the following is true?",
    "All are true except",
    "Which of the following statements about the management of this patient is correct?",
    "Which of the following is not used in the treatment of gout?",
)


@pytest.mark.parametrize("stem", STEMS)
def test_a_stem_that_any_question_may_have_needs_its_options(stem: str) -> None:
    row, other = (stem, ("Colchicine", "Naproxen")), (stem, ("The tibia", "The fibula", "The talus"))
    assert find(other, row) is None or len(stem.split()) >= DEFAULTS.min_words
    assert find((stem.upper(), ("naproxen", "colchicine")), row) is not None
    assert find((stem, ()), row) is not None


def test_other_questions_of_the_same_form_are_not_the_same() -> None:
    other = GOUT[0].replace("gout", "pseudogout").replace("crystals", "cells")
    for options in ((), GOUT[1], ("Lymphocytes", "Neutrophils")):
        assert find((other, options), GOUT) is None
    stem = "Which of the following drugs is not used in the treatment of a patient who has {}?"
    rows = [
        (stem.format(*row[:1]), row[1:]) for row in (("gout", "Colchicine", "Urea"), ("asthma", "Salbutamol", "Iron"))
    ]
    assert find(rows[0], rows[1]) is None


def test_a_question_of_no_words_is_found_nowhere() -> None:
    assert find(("???", ()), GOUT, (CASE, CHOICES)) is None
    assert find(("???", CHOICES), GOUT, (CASE, CHOICES)) is None
    assert index_of().find(comparable(CASE, ())) is None


def test_the_row_found_does_not_depend_on_the_order_of_benchmarks(tmp_path: Path) -> None:
    files = {}
    for name, question in (("b", CASE), ("a", CASE.replace("58", "59")), ("c", GOUT[0])):
        files[name] = write_rows(tmp_path / f"{name}.jsonl", [{"question": question}])
    for order in itertools.permutations(files):
        index = BenchmarkIndex(read_benchmarks({name: files[name] for name in order}, StorageConfig()), DEFAULTS)
        matches = [index.find(comparable(CASE.replace("58", age), CHOICES)) for age in ("58", "59", "60")]
        assert [str(match.row) for match in matches if match] == ["b:0", "a:0", "a:0"]


# Reading benchmarks --------------------------------------------------------------------------------------------------


def write_rows(path: Path, rows: Iterable[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q?", "options": {"A": "x", "B": "y"}},
        {"Question": "Q?", "options": ["x", "y"]},
        {"question": None, "problem_text": "Q?", "choices": ["y", "x"]},
        {"question": "Q?", "opa": "x", "opb": "y", "opc": "z", "opd": "u"},
        {"QUESTION": "Q?", "options": [{"label": "A", "text": "x"}]},
        {"question": "Q?\nAnswer Choices: (A) x (B) y"},
    ],
)
def test_rows_of_every_release(tmp_path: Path, row: dict[str, Any]) -> None:
    ((benchmark, number, question),) = read_benchmarks({"b": write_rows(tmp_path / "b.jsonl", [row])}, StorageConfig())
    wanted = {"opa": ("u", "x", "y", "z"), "options": ("x", "y"), "choices": ("x", "y")}
    known = next((options for field, options in wanted.items() if field in row), ())
    assert (benchmark, number, question.stem) == ("b", 0, "q")
    assert question.options == (known if "QUESTION" not in row else ())


@pytest.mark.parametrize("row", [{"problem": "x"}, {"question": " "}, {"question": 3}, {"question": "?!"}, [1], "Q?"])
def test_a_row_without_a_question_stops(tmp_path: Path, row: Any) -> None:
    uri = write_rows(tmp_path / "b.jsonl", [{"question": "Q?"}, row])
    with pytest.raises(SourceError, match="row 1 has no question") as caught:
        list(read_benchmarks({"bench": uri}, StorageConfig()))
    assert caught.value.where == f"questions.decontaminate.bench: {uri}"
    assert caught.value.remedy


# The config ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "what"),
    [
        ("decontamination.ngram_threshold=0", "ngram_threshold' is 0"),
        ("decontamination.ngram_threshold=1.01", "ngram_threshold' is 1.01"),
        ("decontamination.near_duplicate_threshold=0.2", "near_duplicate_threshold' is 0.2"),
        ("decontamination.near_duplicate_long_threshold=.nan", "near_duplicate_long_threshold' is nan"),
        ("deduplication.threshold=-1", "deduplication.threshold' is -1"),
        ("decontamination.ngram_words=0", "ngram_words' is 0"),
        ("decontamination.min_words=0", "min_words' is 0"),
        ("decontamination.treshold=0.4", "unknown config key"),
        ("decontamination.exact=perhaps", "exact"),
    ],
)
def test_values_out_of_range(pair: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        load_config(Config, None, [f"questions.{pair}"])
    assert caught.value.remedy


def test_benchmarks_that_nothing_compares_with() -> None:
    off = [f"questions.decontamination.{method}=false" for method in Method]
    assert load_config(Config, None, off).questions.decontamination == replace(
        DEFAULTS, exact=False, ngram_overlap=False, near_duplicate=False
    )
    with pytest.raises(ConfigError, match="every method"):
        load_config(Config, None, [*off, "questions.decontaminate.b=b.jsonl"])


def test_what_was_compared_is_told() -> None:
    assert index_of().describe({}) == {}
    told = index_of(GOUT, (CASE, ()), config=replace(DEFAULTS, exact=False)).describe({Method.near_duplicate: 3})
    assert told["benchmarks"] == {"bench": 2}
    assert told["methods"] == ["ngram_overlap", "near_duplicate"]
    assert told["dropped_by_method"] == {"ngram_overlap": 0, "near_duplicate": 3}
    assert set(told["thresholds"]) == set(vars(DEFAULTS)) - set(Method)
