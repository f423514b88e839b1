"""The question sources: one parser a dataset, from a row in its released field names to one schema.

What counts as a fit row, for every source: text is non-empty Unicode, its combining marks no more than 30 in a row;
numbers are numbers (``"2"`` is refused); options are at least two, labelled by single capital letters; right labels are
among them; an answer that is given beside its label agrees with it. Wrong options may repeat each other (MedMCQA has such
rows), but none may repeat a right one: nobody could tell them apart. Explanations (MedMCQA's ``exp``, Huatuo's
``Complex_CoT``, HLE's ``rationale``) are never read.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, NamedTuple, TypedDict

from medreason_dist.config import StorageConfig
from medreason_dist.errors import SourceError
from medreason_dist.ids import normalize_text, question_id
from medreason_dist.questions.files import File, Malformed, list_files, read_rows
from medreason_dist.schemas import Dataset

SHOWN_CHARACTERS = 120
MAX_MARKS = 30
"""Combining marks in a row: Unicode's own bound for text that is safe to process (UAX #15, stream-safe text format)."""
LOOKS_LIKE_ROWS = 50


class Option(TypedDict):
    """One of the answers offered."""

    label: str
    text: str


class Question(TypedDict):
    """A row of :data:`medreason_dist.schemas.QUESTIONS`."""

    question_id: str
    dataset: str
    row_in_dataset: int
    id_in_dataset: str
    subject: str | None
    question: str
    context: str | None
    options: list[Option]
    answer: str
    answer_label: str | None
    answer_context: str | None


@dataclass(frozen=True)
class Invalid:
    """Why a row is no question: the field, what it holds and what is allowed."""

    detail: str


class SourceRow(NamedTuple):
    """A row of a source: its number there from 0, as read, and what it parses to."""

    dataset: Dataset
    number: int
    row: Any
    parsed: Question | Invalid


Row = Mapping[str, Any]
Fields = dict[str, Any]


class _InvalidError(Exception):
    """A field that does not fit: its name, what it holds, what it may hold."""

    def __init__(self, field: str, found: str, allowed: str) -> None:
        super().__init__(f"{field}: {found}; allowed: {allowed}")


def read_source(
    dataset: Dataset, uri: str, storage: StorageConfig, *, key: str | None = None, distinct: bool = True
) -> Iterator[SourceRow]:
    """Yields every row of a source: a file, or a folder of files in name order.

    ``key`` is the config key that names it, ``questions.sources.<dataset>`` if not given; ``distinct`` as in
    :func:`parse_row`. Raises :class:`SourceError` for a file that cannot be read or in which no row fits the dataset.
    """
    key = key or f"questions.sources.{dataset}"
    number = 0
    for file in list_files(uri, storage):
        fits, first_detail = 0, ""
        rows = _require_zero_based(read_rows(file), f"{key}: {file}") if dataset is Dataset.medmcqa else read_rows(file)
        for row in rows:
            parsed = parse_row(dataset, number, row, distinct=distinct)
            if isinstance(parsed, Invalid):
                first_detail = first_detail or parsed.detail
            else:
                fits += 1
            yield SourceRow(dataset, number, row, parsed)
            number += 1
        if not fits:
            raise SourceError(
                f"no row fits the dataset {dataset}; the first one's fault is {first_detail}",
                f"{key}: {file}",
                _looks_like(file, key.rpartition(".")[0]),
            )


def parse_row(dataset: Dataset, number: int, row: Any, *, distinct: bool = True) -> Question | Invalid:
    """Returns row ``number`` of a source as a question, or what is wrong with it.

    Without ``distinct`` a wrong option may repeat a right one, as a benchmark scores by the label alone.
    """
    try:
        if isinstance(row, Malformed):
            raise _InvalidError("row", row.fault, "one JSON object a line")
        if not isinstance(row, dict):
            raise _InvalidError("row", _shown(row), "a JSON object")
        fields = PARSERS[dataset](row)
        if distinct:
            _require_distinct(fields)
    except _InvalidError as error:
        return Invalid(encodable(str(error)))
    question, context, options, answer = (fields[name] for name in ("question", "context", "options", "answer"))
    return Question(
        question_id=question_id(question, context, [option["text"] for option in options], answer),
        dataset=dataset.value,
        row_in_dataset=number,
        id_in_dataset=fields["id"] or str(number),
        subject=fields["subject"],
        question=question,
        context=context,
        options=options,
        answer=answer,
        answer_label=fields["answer_label"],
        answer_context=fields["answer_context"],
    )


def encodable(text: str) -> str:
    """Returns ``text`` with lone surrogates escaped as in JSON: Parquet holds UTF-8, which has none."""
    return text.encode("utf-8", "backslashreplace").decode()


def split_choices(text: str) -> tuple[str, str]:
    """Splits off the list of options that MedXpertQA's and HLE's releases append to the question's text.

    Returns the question and the list without its heading, which is empty where there is none.
    """
    stem, found, choices = text.partition("Answer Choices:")
    if found and stem.strip() and re.match(r"\s*\(?A[.)]", choices):
        return stem.strip(), choices.strip()
    return text, ""


# The sources ---------------------------------------------------------------------------------------------------------


def _medqa(row: Row) -> Fields:
    options = _options(row, "options")
    label = _label(row, "answer_idx", options)
    _require_agreement(_text(row, "answer"), label, options)
    return _closed(_text(row, "question"), options, [label], subject=_optional_text(row, "meta_info"))


def _medmcqa(row: Row) -> Fields:
    options = {letter: _text(row, f"op{letter.lower()}") for letter in "ABCD"}
    right = "ABCD"[_index(row, "cop", 4)]
    return _closed(
        _text(row, "question"), options, [right], id=_id(row, "id"), subject=_optional_text(row, "subject_name")
    )


def _pubmedqa(row: Row) -> Fields:
    row = _pubmedqa_fields(row)
    options = {"A": "yes", "B": "no", "C": "maybe"}
    decision = _value(row, "final_decision")
    right = [label for label, text in options.items() if text == decision]
    if not right:
        raise _InvalidError("final_decision", _shown(decision), "yes, no, maybe")
    return _closed(
        _text(row, "question"),
        options,
        right,
        id=_id(row, "pubid"),
        context=_abstract(row),
        answer_context=_text(row, "long_answer"),
    )


def _pubmedqa_unlabeled(row: Row) -> Fields:
    row = _pubmedqa_fields(row)
    if row.get("final_decision") is not None:
        raise _InvalidError("final_decision", _shown(row["final_decision"]), "none in an unlabelled row")
    return _open(_text(row, "question"), _text(row, "long_answer"), id=_id(row, "pubid"), context=_abstract(row))


def _pubmedqa_fields(row: Row) -> Row:
    """Returns a row of the original release (QUESTION, CONTEXTS, LONG_ANSWER) under the names of the later one."""
    if "QUESTION" not in row:
        return row
    return {
        "pubid": row.get("pubid"),
        "question": row["QUESTION"],
        "context": {"contexts": row.get("CONTEXTS")},
        "long_answer": row.get("LONG_ANSWER"),
        "final_decision": row.get("final_decision"),
    }


def _abstract(row: Row) -> str:
    context = _value(row, "context")
    if not isinstance(context, dict):
        raise _InvalidError("context", _shown(context), "an object with contexts, a list of text")
    contexts = _list(context.get("contexts"), "context.contexts")
    return "\n".join(_as_text(text, f"context.contexts[{index}]") for index, text in enumerate(contexts))


def _mmlu(row: Row) -> Fields:
    _require_text_only(row)
    options = _choices(row, "choices")
    answer = _value(row, "answer")
    if isinstance(answer, list):
        right = [_letter(item, f"answer[{index}]", options) for index, item in enumerate(_list(answer, "answer"))]
        if len(set(right)) < len(right):
            raise _InvalidError("answer", _shown(answer), "every letter once")
    else:
        right = [list(options)[_index(row, "answer", len(options))]]
    name = "problem_text" if "problem_text" in row else "question"
    return _closed(_text(row, name), options, right, id=_id(row, "problem_id"), subject=_optional_text(row, "subject"))


def _medxpertqa(row: Row) -> Fields:
    _require_text_only(row)
    options = _options(row, "options")
    question, _ = split_choices(_text(row, "question"))
    label = _label(row, "label", options)
    return _closed(question, options, [label], id=_id(row, "id"), subject=_optional_text(row, "body_system"))


def _huatuo(row: Row) -> Fields:
    return _open(_text(row, "Question"), _text(row, "Response"))


def _hle(row: Row) -> Fields:
    _require_text_only(row)
    question, answer = _text(row, "question"), _text(row, "answer")
    if "answer_type" in row:
        return _hle_released(row, question, answer)
    identity = _id(row, "idx")
    if row.get("options") not in (None, {}, []):
        options = _options(row, "options")
        label = _label(row, "answer_idx", options)
        _require_agreement(answer, label, options)
        return _closed(question, options, [label], id=identity)
    if row.get("answer_idx") is not None:
        raise _InvalidError("answer_idx", _shown(row["answer_idx"]), "none where there are no options")
    return _open(question, answer, id=identity)


def _hle_released(row: Row, question: str, answer: str) -> Fields:
    kind = row["answer_type"]
    if kind == "exactMatch":
        return _open(question, answer, id=_id(row, "id"))
    if kind != "multipleChoice":
        raise _InvalidError("answer_type", _shown(kind), "multipleChoice, exactMatch")
    question, choices = split_choices(question)
    parts = re.split(r"^[^\S\n]*([A-Z])[.)]\s", choices, flags=re.MULTILINE)[1:]
    options = dict(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))
    if len(options) < 2 or len(options) < len(parts) // 2 or not all(options.values()):
        raise _InvalidError("question", _shown(row["question"]), "text that ends in Answer Choices: A. … B. …")
    label = _letter(answer.partition(".")[0], "answer", options)
    _require_agreement(answer, label, options)
    return _closed(question, options, [label], id=_id(row, "id"))


PARSERS: dict[Dataset, Callable[[Row], Fields]] = {
    Dataset.medqa: _medqa,
    Dataset.medmcqa: _medmcqa,
    Dataset.pubmedqa: _pubmedqa,
    Dataset.pubmedqa_artificial: _pubmedqa,
    Dataset.pubmedqa_unlabeled: _pubmedqa_unlabeled,
    Dataset.mmlu: _mmlu,
    Dataset.medxpertqa: _medxpertqa,
    Dataset.huatuo: _huatuo,
    Dataset.hle: _hle,
}


def _closed(question: str, options: Mapping[str, str], right: Sequence[str], **rest: str | None) -> Fields:
    labels = [label for label in options if label in right]
    return _fields(
        question=question,
        options=[Option(label=label, text=text) for label, text in options.items()],
        answer="; ".join(options[label] for label in labels),
        answer_label=",".join(labels),
        **rest,
    )


def _open(question: str, answer: str, **rest: str | None) -> Fields:
    return _fields(question=question, options=[], answer=answer, answer_label=None, **rest)


def _fields(**found: Any) -> Fields:
    return {"id": None, "subject": None, "context": None, "answer_context": None, **found}


# Fields --------------------------------------------------------------------------------------------------------------


def _value(row: Row, name: str) -> Any:
    if row.get(name) is None:
        raise _InvalidError(name, "null" if name in row else "missing", "a value")
    return row[name]


def _text(row: Row, name: str) -> str:
    return _as_text(_value(row, name), name)


def _as_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _InvalidError(name, _shown(value), "text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        found = f"lone surrogate U+{ord(value[error.start]):04X} at character {error.start}"
        raise _InvalidError(name, found, "Unicode text") from None
    # A text of nothing but spaces, control and format characters shows nothing.
    if all(unicodedata.category(character)[0] in "ZC" for character in value):
        raise _InvalidError(name, _shown(value), "text that is not empty")
    if not value.isascii() and (marks := _longest_marks(value)) > MAX_MARKS:
        # They are put in order whenever text is normalised, in quadratic time: 2.5 s for 40,000.
        raise _InvalidError(name, f"{marks} combining marks in a row", f"{MAX_MARKS} at most")
    return value.strip()


def _longest_marks(text: str) -> int:
    runs = (sum(1 for _ in run) for marks, run in groupby(map(unicodedata.combining, text), bool) if marks)
    return max(runs, default=0)


def _optional_text(row: Row, name: str) -> str | None:
    value = row.get(name)
    return None if value is None or value == "" else _as_text(value, name)


def _id(row: Row, name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _as_text(value, name)


def _index(row: Row, name: str, count: int) -> int:
    value = _value(row, name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
        raise _InvalidError(name, _shown(value), f"a number, {', '.join(map(str, range(count)))}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _InvalidError(name, _shown(value), "a list that is not empty")
    return value


def _options(row: Row, name: str) -> dict[str, str]:
    options = _value(row, name)
    if not isinstance(options, dict) or len(options) < 2:
        raise _InvalidError(name, _shown(options), "an object of two options or more")
    for label in options:
        if label not in string.ascii_uppercase or len(label) != 1:
            raise _InvalidError(name, f"label {_shown(label)}", "single capital letters as labels")
    return {label: _as_text(text, f"{name}.{label}") for label, text in options.items()}


def _choices(row: Row, name: str) -> dict[str, str]:
    choices = _list(_value(row, name), name)
    letters = string.ascii_uppercase
    if not 2 <= len(choices) <= len(letters):
        raise _InvalidError(name, f"{len(choices)} choices", f"2 to {len(letters)} choices")
    return {letters[index]: _as_text(text, f"{name}[{index}]") for index, text in enumerate(choices)}


def _label(row: Row, name: str, options: Mapping[str, str]) -> str:
    label = _value(row, name)
    if not isinstance(label, str) or label not in options:
        raise _InvalidError(name, _shown(label), f"one of {', '.join(options)}")
    return label


def _letter(value: Any, name: str, options: Mapping[str, str]) -> str:
    if not isinstance(value, str) or value.strip().upper() not in options:
        raise _InvalidError(name, _shown(value), f"one of the letters {', '.join(options)}")
    return value.strip().upper()


def _require_agreement(answer: str, label: str, options: Mapping[str, str]) -> None:
    """Refuses an answer that is neither the labelled option's text nor its label, with or without the text."""
    text = normalize_text(options[label])
    if normalize_text(answer) not in (text, label, f"{label}.", f"{label}. {text}"):
        raise _InvalidError("answer", _shown(answer), f"the text of option {label}, {_shown(options[label])}")


def _require_distinct(fields: Fields) -> None:
    """Refuses a wrong option that repeats a right one."""
    labels = (fields["answer_label"] or "").split(",")
    right_texts = {normalize_text(option["text"]) for option in fields["options"] if option["label"] in labels}
    for label, text in ((option["label"], option["text"]) for option in fields["options"]):
        if label not in labels and normalize_text(text) in right_texts:
            raise _InvalidError("options", f"wrong option {label} {_shown(text)} repeats a right one", "distinct text")


def _require_text_only(row: Row) -> None:
    for name in ("image", "images"):
        if row.get(name) not in (None, "", []):
            raise _InvalidError(name, "an image", "none: questions are text")
    if row.get("text_only") not in (None, True):
        raise _InvalidError("text_only", _shown(row["text_only"]), "true: questions are text")


# Files ---------------------------------------------------------------------------------------------------------------


def _require_zero_based(rows: Iterator[Any], where: str) -> Iterator[Any]:
    """Passes MedMCQA's rows on; raises :class:`SourceError` where ``cop`` counts from 1, as in its first release."""
    seen: set[Any] = set()
    for row in rows:
        cop = row.get("cop") if isinstance(row, dict) else None
        if isinstance(cop, int):
            seen.add(cop)
        yield row
    if 4 in seen and 0 not in seen:
        raise SourceError(
            "cop counts from 1 in this file: it has a 4 and no 0",
            where,
            "subtract 1 from every cop, or take the release whose cop counts from 0",
        )


def _looks_like(file: File, section: str) -> str:
    """Returns advice that names the dataset which most of a file's first rows fit."""
    rows = list(islice(read_rows(file), LOOKS_LIKE_ROWS))
    fits = {dataset: sum(not isinstance(parse_row(dataset, 0, row), Invalid) for row in rows) for dataset in PARSERS}
    best = max(fits, key=lambda dataset: fits[dataset])
    if not fits[best]:
        return "its rows fit no other dataset either: see docs/configuration.md for the sources"
    return f"it looks like {best}: list it as {section}.{best}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
