"""Verification: what of a trace gives the answer away, and whether the answer given without it is right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medreason_dist.reasoning.mentions import normal_form
from medreason_dist.reasoning.records import Question, Rejected, Verdict
from medreason_dist.reasoning.responses import CORRECT, INCORRECT
from medreason_dist.schemas import RejectReason

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|[\n\r\v\f\x85\u2028\u2029]+|;\s+")
_LINE_BREAKS = frozenset("\n\r\v\f\x85\u2028\u2029")
# Stops that end no sentence: after these words, after the number of a list item, and (E. coli, 5 mg. of) before a small
# letter after one letter, a number or a unit. All of them are short: to look back over a whole text at each of its stops
# takes minutes where a completion repeats «vs. ».
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|dr|cf|approx)\.$", re.IGNORECASE)
_LIST_NUMBER = re.compile(r"\s*\d+\.")
_SHORT = re.compile(r"(?:\b[A-Za-z]|\b\d+|\bm[gl])\.$")
_LOOKED_BACK = 12
_ANSWER_WORD = (
    r"(?:answer|option|choice|alternative|selection|correct|incorrect|right|wrong|best fit|best match|"
    r"most (?:likely|appropriate|accurate|suitable|probable)|rule[sd]? out|eliminat\w+)"
)
_CUE = re.compile(rf"\b{_ANSWER_WORD}s?\b", re.IGNORECASE)
_OPTION_WORD = r"(?:answer|option|choice|alternative|selection)"
_CHOOSING = re.compile(
    r"\b(?:cho(?:ose|sen|osing)|pick\w*|select\w*|go(?:ing)? with|remain\w*|leaves?|left with|fits?)\b", re.I
)
_LABEL_VERB = r"(?:is|was|and|or|must|would|should|can|because|remains?|fits?|seems|appears|looks|alone)\b"
_ARTICLE_OR_PRONOUN = re.compile(rf" (?!{_LABEL_VERB})[a-z]")
_JOINING = ("'", "’", "-")
# Words that have a letter after them, and words that have one before them, in medicine.
_LETTERED = frozenset(
    """vitamin vitamins hepatitis type types group groups factor factors stage grade class category phase influenza
    hemoglobin haemoglobin complement coenzyme protein immunoglobulin ig apolipoprotein botulinum toxin interferon
    cytochrome staphylococcal streptococcus blood chain cyclin cathepsin caspase granzyme child criterion""".split()
)
_LETTERING = frozenset(
    """cell cells peptide virus antigen antigens receptor receptors fiber fibers fibre fibres wave waves chain chains
    lymphocyte lymphocytes subunit strain deficiency toxin reactive""".split()
)
_CONCLUSION_HEADING = re.compile(r"\W*(?:conclusions?|summary|(?:final )?answer)\W*", re.IGNORECASE)
_CONCLUDING = re.compile(
    r"^(?:\W*(?:conclusion|summary|final answer)\W*:|\W*[#*]\W*(?:conclusion|summary)\b)|"
    r"^\W*(?:thus|therefore|hence|so|consequently|accordingly|in (?:conclusion|summary|short)|overall|finally|ultimately|"
    r"to (?:conclude|sum up)|as a result|this (?:means|implies|shows|suggests|indicates|leaves|makes|points)|"
    r"we (?:can )?(?:conclude|choose|pick|select)|i (?:would )?(?:conclude|choose|pick|select))\b",
    re.IGNORECASE,
)
_GIVEN_AWAY = re.compile(
    r"\b(?:given|provided|stated|known|reference|supplied|expected|gold)\s+(?:correct\s+)?(?:answer|solution)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Stripped:
    """A reasoning without the sentences that state its answer, and those sentences."""

    text: str
    removed: tuple[str, ...]


def strip_answer_statements(reasoning: str, options: Mapping[str, str], answer: str) -> Stripped:
    """Returns ``reasoning`` without the sentences from which the answer could be read off instead of derived.

    ``options`` maps labels to texts and is empty for an open question, of which ``answer`` is the answer. A sentence goes
    if it

    - names an option by its letter (``the answer is C``, ``(C)``, ``C is correct``, ``option c``),
    - says which of the options or answers is right or wrong (``metformin is correct``),
    - draws a conclusion that holds an option's or the answer's text (``thus, metformin …``), or holds it below a heading
      (``Conclusion``),
    - is nothing but the text of an option or of the answer,
    - speaks of an answer that was given.

    Facts about the answer's entity stay: without them there is nothing to derive it from.
    """
    labels = tuple(options)
    texts = [form for form in map(normal_form, [*options.values(), answer]) if form]
    kept: list[str] = []
    removed: list[str] = []
    concluding = False
    for sentence in split_sentences(reasoning):
        heading = bool(_CONCLUSION_HEADING.fullmatch(sentence))
        concluding = concluding or heading
        (removed if heading or _states_answer(sentence, labels, texts, concluding) else kept).append(sentence)
    return Stripped(" ".join(kept), tuple(removed))


def require_substance(stripped: Stripped, min_words: int) -> str:
    """Returns the stripped reasoning; ``leaked_answer`` where fewer than ``min_words`` words are left of it."""
    words = len(stripped.text.split())
    if words < min_words:
        detail = (
            f"{words} words are left without {len(stripped.removed)} statements of the answer, {min_words} are needed"
        )
        raise Rejected(RejectReason.leaked_answer, detail)
    return stripped.text


def match_labels(question: Question, answer: str) -> str:
    """Returns ``correct`` if the labels in ``answer``, joined by commas, are exactly the right ones."""
    return CORRECT if set(answer.split(",")) == set(question.answer_labels) else INCORRECT


def require_correct(question: Question, answer: str, verdict: Verdict) -> None:
    """Raises ``wrong_answer`` (options) or ``judge_rejected`` (open) unless the verdict is ``correct``."""
    if verdict.verdict == CORRECT:
        return
    if question.options:
        detail = f"answered {answer} from the reasoning, right is {question.answer_label}"
        raise Rejected(RejectReason.wrong_answer, detail)
    raise Rejected(RejectReason.judge_rejected, f"{verdict.by} judged the answer {answer!r:.200} {verdict.verdict}")


def split_sentences(text: str) -> list[str]:
    """Returns the sentences, list items and lines of a text, without white space around them."""
    return [text[start:end] for start, end in find_sentences(text)]


def find_sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yields where each of :func:`split_sentences` starts and ends, in code points."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if _LINE_BREAKS.isdisjoint(match.group()) and _is_abbreviated(text, start, match):
            continue
        yield from _trim(text, start, match.start())
        start = match.end()
    yield from _trim(text, start, len(text))


def _trim(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    sentence = text[start:end]
    if bare := sentence.strip():
        first = start + len(sentence) - len(sentence.lstrip())
        yield first, first + len(bare)


def _is_abbreviated(text: str, start: int, stop: re.Match[str]) -> bool:
    """Returns whether the stop before a gap ends no sentence; the sentence that it may end begins at ``start``."""
    end = stop.start()
    if end - start <= _LOOKED_BACK and _LIST_NUMBER.fullmatch(text, start, end):
        return True
    nearby = max(start, end - _LOOKED_BACK)
    small_letter_follows = text[stop.end() : stop.end() + 1].islower()
    return bool(_ABBREVIATION.search(text, nearby, end) or (small_letter_follows and _SHORT.search(text, nearby, end)))


def _states_answer(sentence: str, labels: Sequence[str], texts: Sequence[str], concluding: bool) -> bool:
    if _GIVEN_AWAY.search(sentence) or _names_label(sentence, labels):
        return True
    form = f" {normal_form(sentence)} "
    held = [text for text in texts if f" {text} " in form]
    stated = concluding or _CUE.search(sentence) or _CONCLUDING.search(sentence) or form.strip() in held
    return bool(held) and bool(stated)


def _names_label(sentence: str, labels: Sequence[str]) -> bool:
    """Returns whether a sentence names an option by its letter.

    A letter counts where brackets, its place or a word for options mark it as one. ``vitamin C``, ``C. difficile``, ``B
    cells`` and the article are medicine and English.
    """
    if not labels:
        return False
    letters = "".join(labels)
    small = rf"\W{{1,4}}[{letters.lower()}](?![\w'’-])"
    if re.search(rf"\b{_OPTION_WORD}s?(?:\s+(?:is|are|was|must be|would be))?{small}(?!\s+[a-z])", sentence, re.I):
        return True
    if re.search(rf"\b{_OPTION_WORD}s?{small}(?=\s+{_LABEL_VERB})", sentence, re.I):
        return True
    marking = bool(_CUE.search(sentence) or _CHOOSING.search(sentence))
    words = list(re.finditer(r"\w+", sentence))
    ends = [0, *(word.end() for word in words)]
    starts = [*(word.start() for word in words), len(sentence)]
    for index, word in enumerate(words):
        letter, before = word.group(), sentence[ends[index] : word.start()]
        after = sentence[word.end() : starts[index + 1]]
        if letter not in labels or before.endswith(_JOINING) or after.startswith(_JOINING):
            continue
        previous = words[index - 1].group() if index else ""
        following = words[index + 1].group() if index + 1 < len(words) else ""
        if previous.casefold() in _LETTERED or following.casefold() in _LETTERING:
            continue
        if re.fullmatch(r"\.\s+", after) and "a" <= following[:1] <= "z":
            continue
        if letter in "AI" and _ARTICLE_OR_PRONOUN.match(sentence, word.end()):
            continue
        bracketed = before.rstrip().endswith(("(", "[")) and after.lstrip().startswith((")", "]"))
        leading = not previous and (not following or re.match(r"\s*[.):]", after))
        last = not following and (previous in ("is", "be", "are", "was") or ":" in before)
        if bracketed or leading or last or marking:
            return True
    return False
