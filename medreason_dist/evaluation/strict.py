"""Which option a completion answers, as it states it: the last statement counts, and what states nothing is no answer.

``docs/evaluation.md`` has the grammar, with examples. Time is linear in the completion's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from medreason_dist.ids import normalize_text
from medreason_dist.schemas import NoAnswer

_MARKUP: Final = str.maketrans(dict.fromkeys("*`_$"))
_QUOTES: Final = str.maketrans({"’": "'", "‘": "'", "“": None, "”": None, '"': None})
_LATEX_TEXT: Final = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}")

_BEST: Final = r"(?:final|correct|best|right|most[ ]\w+|appropriate)"
_VERB: Final = r"(?:is|was|remains|(?:would|must|should|has[ ]to)[ ]be)\b"
_CUE: Final = re.compile(
    rf"""
    ^[^\w\n]*(?P<line>(?:(?:the|my|so|therefore|thus|hence),?[ ])?(?:{_BEST}[ ])*(?:answer|option|choice)
        (?:[ ](?:option|choice))?["']?[ ]*(?:[:=]|[-–—](?=[ ])))
  | (?P<sentence>\b(?:{_BEST}[ ](?:answer|option|choice)|answer)(?:[ ](?:option|choice))?
        (?:[ ](?:to|for|in)[ ](?:this|the)[ ](?:question|case))?["']?[ ]*(?:{_VERB}[ ]*:?|[:=]))
  | (?P<revised>\b(?:actually|wait|correction|rather|instead)[ ,:–—-]{{1,3}}(?:it|that)(?:[ ]{_VERB}|'s\b))
  | (?P<chosen>\b(?:I|we)(?:'d|'ll|[ ]would|[ ]will|[ ]must|[ ]should|[ ]therefore|[ ]thus){{0,2}}
        [ ](?:choose|select|pick|go[ ]with)\b)
  | (?P<boxed>\\boxed[ ]?\{{(?P<in_box>(?:[^{{}}]|\{{[^{{}}]*\}}){{1,500}})\}}|<answer>(?P<in_tag>[^<]{{1,500}})</answer>)
  | (?P<verdict>(?:^[^\w\n]*|[.,!;:][ ]\(?|\b(?:so|thus|therefore|hence|that|option|choice|answer)[ ]\(?)
        (?P<ruled>(?-i:[A-Z])(?:\)|[.:)][ ]?[^.\n]{{1,80}}?)?)
        [ ](?:is|(?:would|must|should)[ ]be)[ ](?:therefore[ ]|thus[ ]|clearly[ ])?
        (?:(?:the[ ])?(?:correct|right|best)(?=[ ]*(?:[.,;!]|$|because\b|since\b))
         | (?:the[ ])?(?:correct|right|best|most[ ]\w+)[ ](?:answer|option|choice)\b))
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
"""What a statement begins with, or (boxed, verdict) is."""
_CLAUSE_END: Final = re.compile(r"[.,;:!?\n]|\b(?:so|therefore|thus|hence|and|but|because|then)\b", re.IGNORECASE)
_DENIED: Final = re.compile(
    r"\b(?:not|never|cannot|if|whether|unless|suppose|assuming|doubt|unlikely|wrong|incorrect|other|another|alternative|"
    r"\w{1,8}n't)\b",
    re.IGNORECASE,
)
_CLAUSE_LENGTH: Final = 120
_LEAD: Final = re.compile(
    r"(?:[\s\"'“‘(\[{:=<→–—-]|\\\(|\b(?:therefore|thus|hence|so|clearly|most likely|likely|probably|definitely|indeed|then|"
    r"option|choice|answer|letter|is|the)\b(?!-))*",
    re.IGNORECASE,
)
_CLOSE: Final = r"[\])}>.:;!\"'\\]"
_LETTER: Final = re.compile(
    rf"(?P<letter>[A-Z]|[a-z](?=\)|{_CLOSE}*\s*$))(?!\.[A-Z]\.)(?:(?P<close>{_CLOSE}+)|(?=[\s,(–—/&+]|$))(?P<tail>.*)",
    re.DOTALL,
)
_MORE: Final = re.compile(
    r"\s*(?:,?\s*(?:and|or)\b|[,&/+])\s*(?:option\s+)?\(?([A-Z])\)?(?=\s*(?:$|[.,;:)\]}&/+]|(?:and|or|are)\b))"
)
_REASON: Final = r"(?:because|since|as|due|which|given|based)\b"
_GOES_ON: Final = re.compile(
    rf"\s+(?:{_REASON}|(?:for|in|with|and|but|is (?:the )?(?:correct|right|best))\b|-)|\s*[,(–—/]"
)
_TEXT_END: Final = re.compile(rf"(?!\W*\?)(?:\W*$|[.;!:)\]}}]+(?:\s|$)|\s*[(–—]|\s+-\s|,?\s+{_REASON})")
_VERDICT_END: Final = re.compile(r"\s*,")
_IN_BRACKETS: Final = re.compile(r"\W*\(\s*(?:option |choice |answer )?([a-z])\s*\)")
_QUESTION: Final = re.compile(r"[^.!;\n]*\?")
_LISTED: Final = re.compile(r"\W*(?:(?i:option|choice) )?[A-Z][.):]\s")
_WORD: Final = re.compile(r"\w+")


class StrictAnswer(NamedTuple):
    """The label (several joined by commas, in the options' order) of the last stated answer, or why there is none."""

    label: str | None
    fault: NoAnswer | None


class _Statement(NamedTuple):
    """What may state an answer: one line of text that follows a cue, or is the answer and nothing else (``is_bare``)."""

    said: str
    is_line: bool = False
    """Whether it is a line of the form ``Answer: …``."""
    is_whole: bool = False
    """Whether a further line follows."""
    is_bare: bool = False


def strict_answer(
    text: str, options: Mapping[str, str], *, several: bool = False, truncated: bool = False
) -> StrictAnswer:
    """Returns the answer that a completion states last.

    ``options`` maps labels to texts; ``several`` says that more than one is right, ``truncated`` that the completion ended
    by its token limit: then only whole lines ``Answer: …`` count.
    """
    nothing = StrictAnswer(None, NoAnswer.truncated if truncated else NoAnswer.none_stated)
    _, thought, answer = text.rpartition("</think>")
    if not thought and "<think>" in text:
        return nothing
    text = _LATEX_TEXT.sub(r"\1", answer.translate(_MARKUP).replace("’", "'"))
    forms = {label: _form(option).rstrip(" .;,!:") for label, option in options.items()}
    longest = max(map(len, options.values()), default=0) + 200
    for statement in reversed(list(_statements(text, longest))):
        if truncated and not (statement.is_line and statement.is_whole):
            continue
        found = _parse_choice(statement.said, forms, statement.is_bare)
        if found is None and statement.is_line:
            found = NoAnswer.not_an_option
        if isinstance(found, NoAnswer):
            return StrictAnswer(None, found)
        if found is not None:
            if len(set(found)) > 1 and not several:
                return StrictAnswer(None, NoAnswer.several)
            return StrictAnswer(",".join(label for label in options if label in found), None)
    return nothing


def _statements(text: str, longest: int) -> Iterator[_Statement]:
    """Yields what may state an answer, in order; ``longest`` bounds what is looked at behind a cue, in characters."""
    cues = list(_CUE.finditer(text))
    for cue, following in zip_longest(cues, cues[1:]):
        if cue["boxed"]:
            yield _Statement((cue["in_box"] or cue["in_tag"]).strip(), is_bare=True)
        elif not cue["line"] and not _is_asserted(text, cue.start()):
            continue
        elif cue["verdict"]:
            yield _Statement(cue["ruled"], is_bare=True)
        else:
            end = min(cue.end() + longest, following.start() if following else len(text))
            said, follows, _ = text[cue.end() : end].lstrip().partition("\n")
            yield _Statement(said, is_line=bool(cue["line"]), is_whole=bool(follows))
    before, _, last = text.rstrip().rpartition("\n")
    previous = before.rstrip().rpartition("\n")[2]
    # The last line of a list of the options states nothing.
    if len(last) <= longest and not _LISTED.match(previous[:longest]):
        yield _Statement(last, is_bare=True)


def _is_asserted(text: str, start: int) -> bool:
    """Whether nothing in the clause before ``start`` denies what follows or makes it a condition."""
    clause = _CLAUSE_END.split(text[max(start - _CLAUSE_LENGTH, 0) : start])[-1]
    return not _DENIED.search(clause)


def _parse_choice(said: str, forms: Mapping[str, str], is_bare: bool) -> Sequence[str] | NoAnswer | None:
    """Returns the labels that the beginning of ``said`` names, why they are no answer, or None where it names nothing.

    ``forms`` maps labels to the options' :func:`_form`. With ``is_bare`` nothing else may follow.
    """
    lead = _LEAD.match(said)
    rest = said[lead.end() :] if lead else said
    for beginning in (said.strip(), rest):
        label, after = _match_text(_form(beginning), forms)
        if label is not None and not (is_bare and _WORD.search(_IN_BRACKETS.sub("", after, count=1))):
            bracketed = _IN_BRACKETS.match(after)
            other = bracketed and bracketed[1].upper() in forms and bracketed[1].upper() != label
            return NoAnswer.contradicts if other else (label,)
    return _parse_letters(rest, forms, is_bare)


def _parse_letters(rest: str, forms: Mapping[str, str], is_bare: bool) -> Sequence[str] | NoAnswer | None:
    match = _LETTER.match(rest)
    if match is None or _QUESTION.match(rest[1:]):
        return None
    labels, close, tail = [match["letter"].upper()], match["close"] or "", match["tail"]
    while more := _MORE.match(tail):
        labels.append(more[1])
        tail = tail[more.end() :]
    if len(labels) == 1 and not _may_follow(labels[0], close, tail, forms, is_bare):
        named, _ = _match_text(_text_behind(tail), forms)
        return NoAnswer.contradicts if named not in (None, labels[0]) else None
    return labels if set(labels) <= set(forms) else NoAnswer.not_an_option


def _may_follow(label: str, close: str, tail: str, forms: Mapping[str, str], is_bare: bool) -> bool:
    """Whether ``tail`` may stand behind a letter (and its full stop, bracket, …) that names the option ``label``.

    It may be nothing, the option's own text, or words that go on; it may not be another option's text, or make the letter
    a part of a name (``E. coli``, ``B cells``, ``A drug``).
    """
    text, own = _text_behind(tail), forms.get(label)
    word = _WORD.search(text)
    if word is None:
        return True
    named, after = _match_text(text, forms)
    if named is not None:
        return forms[named] == own and not (is_bare and _WORD.search(after))
    if is_bare:
        return False
    if own and text.startswith(own):
        return True
    is_name = close.startswith(".") and tail.lstrip()[:1].islower() and word.group() not in _WORD.findall(own or "")
    return bool(close or _GOES_ON.match(tail)) and not is_name


def _text_behind(tail: str) -> str:
    return _form(tail.lstrip(" \t-–—:(,="))


def _match_text(form: str, forms: Mapping[str, str]) -> tuple[str | None, str]:
    """Returns the label of the longest option text with which ``form`` begins, and what follows it there."""
    for label, option in sorted(forms.items(), key=lambda item: -len(item[1])):
        # An option whose text is a letter cannot be told from the option with that letter.
        if not option or (len(option) == 1 and option.isalpha()) or not form.startswith(option):
            continue
        after = form[len(option) :]
        if _TEXT_END.match(after) or (option in ("yes", "no", "maybe") and _VERDICT_END.match(after)):
            return label, after
    return None, form


def _form(text: str) -> str:
    """Returns a text as it is compared: one line, without markup, quotes and case."""
    return normalize_text(text.translate(_MARKUP).translate(_QUOTES)).casefold()
