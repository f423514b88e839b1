"""What decontamination finds, drops wrongly and costs: ``python -m benchmarks.decontamination [recall|drops|speed]``.

``recall`` plants changed copies of real benchmark rows; ``drops`` compares real sets with each other and prints every pair
that it takes for the same; ``speed`` measures CPU time, which other load leaves as it is, and memory on made rows, beside
exact comparison alone. Real rows are read from ``MEDREASON_SHARED``, or ``../shared`` beside the project.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import Final, NamedTuple

from medreason_dist.config import DecontaminationConfig, QuestionsConfig, StorageConfig
from medreason_dist.questions.decontamination import BenchmarkIndex, BenchmarkRow
from medreason_dist.questions.duplicates import compare, find_duplicates
from medreason_dist.questions.readers import Question, parse_row, read_source
from medreason_dist.questions.similarity import comparable
from medreason_dist.schemas import Dataset

ROOT: Final = Path(__file__).parent.parent
SHARED: Final = Path(os.environ.get("MEDREASON_SHARED", ROOT.parent / "shared")) / "data"
SETS: Final = {
    "medqa": (Dataset.medqa, "qa/medqa.jsonl"),
    "medbullets": (Dataset.medqa, "eval/medbullets_op4.jsonl"),
    "medxpertqa": (Dataset.medxpertqa, "eval/medxpertqa.jsonl"),
    "hle": (Dataset.hle, "eval/hle_biomed.jsonl"),
    "medmcqa": (Dataset.medmcqa, "qa/medmcqa.jsonl"),
    "mmlu": (Dataset.mmlu, "qa/mmlu_medical.jsonl"),
    "pubmedqa": (Dataset.pubmedqa, "qa/pubmedqa_labeled.jsonl"),
    "huatuo": (Dataset.huatuo, "qa/huatuo_o1.jsonl"),
}
EXACT_ALONE: Final = DecontaminationConfig(ngram_overlap=False, near_duplicate=False)

# Changed copies ------------------------------------------------------------------------------------------------------


class Text(NamedTuple):
    """A question's text and its options."""

    question: str
    options: tuple[str, ...]


Change = Callable[[Text, random.Random], Text | None]
"""Returns a changed copy, or None of a text that cannot be changed so."""

AGE: Final = re.compile(r"\b(\d+)(?=[- ](?:year|month|week|day|hour)s?[- ]old)")
SENTENCE_END: Final = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")


def change_case(text: Text, _: random.Random) -> Text:
    """Writes all in capitals."""
    return Text(text.question.upper(), tuple(option.upper() for option in text.options))


def change_punctuation(text: Text, rng: random.Random) -> Text:
    """Replaces every punctuation mark between words, spaces a dash and doubles white space."""

    def change(part: str) -> str:
        return re.sub(r"[.,;:?!](?=\s|$)", lambda _: rng.choice([";", " -", " ...", ""]), part).replace(" ", "  ")

    return Text(change(text.question), tuple(map(change, text.options)))


def shuffle_options(text: Text, rng: random.Random) -> Text | None:
    """Puts the options in another order."""
    return replace_options(text, rng.sample(text.options, len(text.options))) if text.options else None


def change_age(text: Text, rng: random.Random) -> Text | None:
    """Adds 1 to 9 to the first age."""
    changed = AGE.sub(lambda match: str(int(match[1]) + rng.randint(1, 9)), text.question, count=1)
    return text._replace(question=changed) if changed != text.question else None


def remove_sentence(text: Text, rng: random.Random) -> Text | None:
    """Leaves out one sentence, any."""
    sentences = SENTENCE_END.split(text.question)
    del sentences[rng.randrange(len(sentences))]
    return text._replace(question=" ".join(sentences)) if sentences else None


def swap_sentences(text: Text, rng: random.Random) -> Text | None:
    """Puts the sentences in another order."""
    sentences = SENTENCE_END.split(text.question)
    rng.shuffle(sentences)
    changed = " ".join(sentences)
    return text._replace(question=changed) if changed != text.question else None


def replace_words(share: float) -> Change:
    """Returns what replaces a share of the stem's words, at least one, by words that stand nowhere else."""

    def change(text: Text, rng: random.Random) -> Text:
        words = text.question.split()
        for place in rng.sample(range(len(words)), max(1, round(share * len(words)))):
            words[place] = f"w{rng.getrandbits(32):x}"
        return text._replace(question=" ".join(words))

    return change


def replace_wrong_options(text: Text, rng: random.Random) -> Text | None:
    """Keeps one option and replaces the others."""
    if not text.options:
        return None
    return replace_options(text, [text.options[0], *(f"w{rng.getrandbits(32):x}" for _ in text.options[1:])])


def leave_out_options(text: Text, _: random.Random) -> Text | None:
    """Makes it an open question."""
    return replace_options(text, []) if text.options else None


def replace_options(text: Text, options: Sequence[str]) -> Text:
    """Returns a text with other options."""
    return text._replace(options=tuple(options))


def both(one: Change, other: Change) -> Change:
    """Returns two changes, one after the other."""

    def change(text: Text, rng: random.Random) -> Text | None:
        changed = one(text, rng)
        return None if changed is None else other(changed, rng)

    return change


CHANGES: Final[dict[str, Change]] = {
    "case": change_case,
    "punctuation": change_punctuation,
    "option order": shuffle_options,
    "age": change_age,
    "a sentence removed": remove_sentence,
    "case, option order": both(change_case, shuffle_options),
    "age, punctuation": both(change_age, change_punctuation),
    "age, a sentence removed": both(change_age, remove_sentence),
    "a sentence removed, option order": both(remove_sentence, shuffle_options),
    "sentences in another order": swap_sentences,
    "one word replaced": replace_words(0),
    "a tenth of the words replaced": replace_words(0.1),
    "a fifth of the words replaced": replace_words(0.2),
    "all options but one replaced": replace_wrong_options,
    "no options": leave_out_options,
}


def count_found(
    name: str, texts: Sequence[Text], changes: dict[str, Change], config: DecontaminationConfig
) -> dict[str, tuple[int, int]]:
    """Returns, by kind of change, the changed copies of ``texts`` and those of them that are found again."""
    index = BenchmarkIndex((BenchmarkRow(name, n, comparable(*text)) for n, text in enumerate(texts)), config)
    counts: dict[str, tuple[int, int]] = {}
    for kind, change in changes.items():
        rng = random.Random(f"{name} {kind}")
        changed = [copy for text in texts if (copy := change(text, rng)) is not None]
        counts[kind] = len(changed), sum(index.find(comparable(*copy)) is not None for copy in changed)
    return counts


def read_set(name: str) -> list[Question]:
    """Returns the questions of a real set."""
    dataset, path = SETS[name]
    rows = read_source(dataset, str(SHARED / path), StorageConfig())
    return [row.parsed for row in rows if isinstance(row.parsed, dict)]


def text_of(question: Question) -> Text:
    """Returns a question's text and options."""
    return Text(question["question"], tuple(option["text"] for option in question["options"]))


def print_recall() -> None:
    """Prints a Markdown table: by kind of change and set, the share found by all methods, and by exact alone."""
    names = ("medqa", "medbullets", "medmcqa", "mmlu", "pubmedqa")
    texts = {name: [text_of(question) for question in read_set(name)] for name in names}
    found, baseline = (
        {name: count_found(name, texts[name], CHANGES, config) for name in names}
        for config in (DecontaminationConfig(), EXACT_ALONE)
    )
    print("| change | " + " | ".join(f"{name} ({len(texts[name])})" for name in names) + " |")
    print("|---|" + "---|" * len(names))
    for kind in CHANGES:
        cells = []
        for name in names:
            copies, hits = found[name][kind]
            alone = baseline[name][kind][1]
            cells.append(f"{100 * hits / copies:.1f} % of {copies} ({100 * alone / copies:.0f})" if copies else "")
        print(f"| {kind} | {' | '.join(cells)} |")


# Drops of what is not the same ---------------------------------------------------------------------------------------


def print_drops() -> None:
    """Prints what each real set loses to each other one, with both texts."""
    sets = {name: read_set(name) for name in SETS}
    for benchmark, rows in sets.items():
        index = BenchmarkIndex(
            (BenchmarkRow(benchmark, number, compare(question)) for number, question in enumerate(rows)),
            DecontaminationConfig(),
        )
        for name, questions in sets.items():
            if name == benchmark:
                continue
            matches = [(question, index.find(compare(question))) for question in questions]
            print(f"{name} against {benchmark}: {sum(match is not None for _, match in matches)} of {len(matches)}")
            for question, match in matches:
                if match is not None:
                    other = rows[match.row.number]
                    print(f"  {name}:{question['row_in_dataset']} {match.detail}")
                    print(f"    {question['question']}  {[option['text'] for option in question['options']]}")
                    print(f"    {other['question']}  {[option['text'] for option in other['options']]}")


# Time and memory -----------------------------------------------------------------------------------------------------

PLANTED: Final = 50
"""One made question in so many is a changed copy of a benchmark row."""


class Writer:
    """Writes rows like the real ones: word after word as real neighbors follow each other, lengths as they have."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts
        self._after: dict[str, list[str]] = defaultdict(list)
        for text in texts:
            words = text.question.split()
            for word, following in pairwise(words):
                self._after[word].append(following)

    def write(self, rng: random.Random) -> Text:
        """Returns a row of the length of a real one that is drawn; of several sentences the last is the real one's."""
        real = rng.choice(self._texts)
        sentences = SENTENCE_END.split(real.question)
        last = sentences[-1] if len(sentences) > 1 else ""
        length = len(real.question.split())
        words = [real.question.split()[0]]
        while len(words) < length - len(last.split()):
            words.append(rng.choice(self._after.get(words[-1]) or rng.choice(self._texts).question.split()))
        wrong = [rng.choice(rng.choice(self._texts).options or ("none",)) for _ in real.options[1:]]
        return Text(" ".join([*words, last]), (*real.options[:1], *wrong))


class Figures(NamedTuple):
    """What one process measured: seconds of CPU, the peak of resident memory before and after, in bytes."""

    index_s: float
    find_s: float
    found: int
    before_bytes: int
    peak_bytes: int


def measure_find(config: DecontaminationConfig, rows: int, questions: int) -> Figures:
    """Indexes made benchmark rows and looks up made questions one by one, keeping none."""
    writer, rng = read_writer(), random.Random(rows)
    before = peak_bytes()
    benchmark = [writer.write(rng) for _ in range(rows)]
    started = time.process_time()
    index = BenchmarkIndex((BenchmarkRow("made", n, comparable(*text)) for n, text in enumerate(benchmark)), config)
    index_s, find_s, found = time.process_time() - started, 0.0, 0
    made = write_questions(writer, rng, benchmark)
    while batch := list(islice(made, min(1000, questions))):
        questions -= len(batch)
        started = time.process_time()
        found += sum(index.find(comparable(*text)) is not None for text in batch)
        find_s += time.process_time() - started
    return Figures(index_s, find_s, found, before, peak_bytes())


def measure_duplicates(questions: int) -> Figures:
    """Looks for near-duplicates among made questions, which are all in memory."""
    writer, rng = read_writer(), random.Random(questions)
    made = write_questions(writer, rng, [writer.write(rng) for _ in range(1000)])
    rows = [as_question(n, text) for n, text in enumerate(islice(made, questions))]
    before, started = peak_bytes(), time.process_time()
    found = find_duplicates(rows, QuestionsConfig())
    return Figures(0.0, time.process_time() - started, len(found), before, peak_bytes())


def write_questions(writer: Writer, rng: random.Random, benchmark: Sequence[Text]) -> Iterator[Text]:
    """Yields made questions without end, one of :data:`PLANTED` a changed copy of a benchmark row."""
    while True:
        for _ in range(PLANTED - 1):
            yield writer.write(rng)
        yield replace_words(0.05)(rng.choice(benchmark), rng) or benchmark[0]


def as_question(number: int, text: Text) -> Question:
    """Returns a text as a question of Huatuo's form with its options."""
    parsed = parse_row(
        Dataset.huatuo, number, {"Question": text.question, "Response": "".join(text.options[:1]) or "x"}
    )
    assert isinstance(parsed, dict)
    return Question(**{**parsed, "options": [{"label": "A", "text": option} for option in text.options]})


def read_writer() -> Writer:
    """Returns a writer of rows like MedQA's and MedMCQA's, half of each."""
    medqa, medmcqa = ([text_of(question) for question in read_set(name)] for name in ("medqa", "medmcqa"))
    return Writer([*medqa, *medmcqa[: len(medqa)]])


def peak_bytes() -> int:
    """Returns the most resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def print_speed(sizes: Sequence[tuple[int, int]]) -> None:
    """Prints, for each (benchmark rows, questions), exact alone and all methods, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for rows, questions in sizes:
            compared = f"{questions:,} questions × {rows:,} rows"
            alone = pool.submit(measure_find, EXACT_ALONE, rows, questions).result()
            print_figures(f"{compared}, exact alone", questions, alone, alone)
            whole = pool.submit(measure_find, DecontaminationConfig(), rows, questions).result()
            print_figures(f"{compared}, all methods", questions, whole, alone)
            among = pool.submit(measure_duplicates, questions).result()
            print_figures(f"near-duplicates among {questions:,} questions", questions, among, alone)


def print_figures(name: str, questions: int, figures: Figures, alone: Figures) -> None:
    """Prints one line."""
    own = (figures.peak_bytes - figures.before_bytes) / 1e6
    print(
        f"{name}: index {figures.index_s:.1f} s, {figures.find_s:.1f} s, {questions / figures.find_s:,.0f}/s, "
        f"{figures.find_s / alone.find_s:.1f} times exact alone; found {figures.found:,}; "
        f"peak {figures.peak_bytes / 1e6:,.0f} MB, {own:,.0f} MB of it its own",
        flush=True,
    )


def main() -> None:
    """Runs and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", default=["recall", "drops", "speed"], help="recall, drops, speed")
    parser.add_argument(
        "--sizes", nargs="+", default=["2000x20000", "20000x20000", "20000x200000"], help="ROWSxQUESTIONS"
    )
    options = parser.parse_args()
    if "recall" in options.what:
        print_recall()
    if "drops" in options.what:
        print_drops()
    if "speed" in options.what:
        print_speed(
            [(int(rows), int(questions)) for rows, _, questions in (size.partition("x") for size in options.sizes)]
        )


if __name__ == "__main__":
    main()
