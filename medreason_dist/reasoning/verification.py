"""Verification: what of a trace gives the answer away, and whether the answer given without it is right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medreason_dist.reasoning.mentions import normal_form
from medreason_dist.reasoning.records import Question, Rejected, Verdict
from medreason_dist.reasoning.responses import CORRECT, INCORRECT
from medreason_dist.schemas import RejectReason

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+|;\s+")
# Stops that end no sentence: after these words, after the number of a list item, and (E. coli, 5 mg. of) before a small
# letter after one letter, a number or a unit.
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|dr|cf|approx)\.$|^\s*\d+\.$", re.IGNORECASE)
_SHORT = re.compile(r"(?:\b[A-Za-z]|\b\d+|\bm[gl])\.$")
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
_CONCLUDING = re.compile(
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
    - draws a conclusion that holds an option's or the answer's text (``thus, metformin …``),
    - is nothing but the text of an option or of the answer,
    - speaks of an answer that was given.

    Facts about the answer's entity stay: without them there is nothing to derive it from.
    """
    labels = tuple(options)
    texts = [form for form in map(normal_form, [*options.values(), answer]) if form]
    kept: list[str] = []
    removed: list[str] = []
    for sentence in split_sentences(reasoning):
        (removed if _states_answer(sentence, labels, texts) else kept).append(sentence)
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
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        before = text[start : match.start()]
        small_letter_follows = text[match.end() : match.end() + 1].islower()
        abbreviated = _ABBREVIATION.search(before) or (small_letter_follows and _SHORT.search(before))
        if "\n" not in match.group() and abbreviated:
            continue
        sentences.append(before)
        start = match.end()
    sentences.append(text[start:])
    return [sentence.strip() for sentence in sentences if sentence.strip()]


def grounding(reasoning: str, names: Iterable[str]) -> dict[str, int]:
    """Returns how many distinct nodes the kept paths have, and how many of their names the reasoning holds."""
    distinct = {form for form in map(normal_form, names) if form}
    text = f" {normal_form(reasoning)} "
    return {"path_nodes": len(distinct), "path_nodes_named": sum(f" {form} " in text for form in distinct)}


def _states_answer(sentence: str, labels: Sequence[str], texts: Sequence[str]) -> bool:
    if _GIVEN_AWAY.search(sentence) or _names_label(sentence, labels):
        return True
    form = f" {normal_form(sentence)} "
    held = [text for text in texts if f" {text} " in form]
    return bool(held) and bool(_CUE.search(sentence) or _CONCLUDING.search(sentence) or form.strip() in held)


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
    for match in re.finditer(rf"(?<![\w'’-])[{letters}](?![\w'’-])", sentence):
        before, after = sentence[: match.start()], sentence[match.end() :]
        previous, following = re.search(r"(\w+)\W*$", before), re.match(r"\W*(\w+)", after)
        if previous and previous.group(1).casefold() in _LETTERED:
            continue
        if following and following.group(1).casefold() in _LETTERING:
            continue
        if re.match(r"\.\s+[a-z]", after) or (match.group() in "AI" and re.match(rf" (?!{_LABEL_VERB})[a-z]", after)):
            continue
        bracketed = before.rstrip().endswith(("(", "[")) and after.lstrip().startswith((")", "]"))
        leading = not re.search(r"\w", before) and (not following or re.match(r"\s*[.):]", after))
        last = not following and re.search(r"(?:\b(?:is|be|are|was)|:)\W*$", before)
        if bracketed or leading or last or _CUE.search(sentence) or _CHOOSING.search(sentence):
            return True
    return False
