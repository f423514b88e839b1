"""Mentions: spans of question and answer that name an entity, found in the text by node names or by the engine."""

from __future__ import annotations

import copy
import itertools
import re
import unicodedata
from collections import ChainMap, defaultdict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import NamedTuple

from medreason_dist.reasoning.records import Mention
from medreason_dist.schemas import NodeType, Side

_WORD = re.compile(r"[^\W_]+(?:['’]s\b)?")
# The lookbehind keeps long white space from being tried from each of its characters.
_PARENTHETICAL = re.compile(r"(?<!\s)\s*\([^()]*\)")
# Unicode orders combining marks in quadratic time: 2.5 s for 40,000 in a row. 30 is its own bound for text that is safe to
# process (UAX #15, stream-safe text format).
_SIGNS = re.compile(r"([^\w\s]{30})[^\w\s]+")
_GREEK = dict(zip("αβγδεκλμω", "alpha beta gamma delta epsilon kappa lambda mu omega".split(), strict=True))
_ROMAN = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9"}
# British spellings, as stems: PrimeKG's sources (MONDO, HPO, DrugBank) spell American.
_BRITISH = (
    ("haem", "hem"), ("aemi", "emi"), ("oedem", "edem"), ("oesoph", "esoph"), ("oestr", "estr"), ("paed", "ped"),
    ("diarrhoe", "diarrhe"), ("tumour", "tumor"), ("leucocyt", "leukocyt"), ("foet", "fet"), ("sulph", "sulf"),
    ("gynaec", "gynec"), ("anaesth", "anesth"), ("caec", "cec"), ("coeli", "celi"),
)  # fmt: skip

GENERIC: frozenset[str] = frozenset(
    """abnormal acute adult all asymptomatic birth body cancer cell childhood chronic complete condition congenital death
    disease disorder drug female finding frequent generalized growth head history human illness infancy infection
    inflammation injury juvenile late lesion localized long male mild moderate neoplasm neonatal normal onset organ other
    partial patient phenotype process progressive protein rare recurrent response severe sex short sporadic stress
    symptom syndrome system tissue transient trauma tumor variable water woman man child""".split()
)
"""Normal forms of node names (HPO's modifiers and onsets among them) that say too little in a running text."""


def normal_form(text: str) -> str:
    """Returns the form in which two spellings of one name are equal: words joined by single spaces.

    Case, accents, punctuation, plural endings, possessives, Greek letters, Roman numbers from II up and British
    spellings are evened out.
    """
    return " ".join(_normal_word(word) for word in _WORD.findall(_compose(text)))


def name_variants(name: str) -> Iterator[str]:
    """Yields the normal forms under which a node's name is known: itself, without parentheses, comma turned round
    (``diabetes mellitus, type 2`` → ``type 2 diabetes mellitus``)."""
    plain = _PARENTHETICAL.sub("", name)
    yield normal_form(name)
    yield normal_form(plain)
    if plain.count(",") == 1:
        head, tail = plain.split(",")
        yield normal_form(f"{tail} {head}")


class Name(NamedTuple):
    """A node's name in a text: its span in code points, and the nodes that bear it, the most likely one first."""

    start: int
    end: int
    nodes: tuple[int, ...]


class NameIndex:
    """The names of all nodes: exact, by normal form, and as a gazetteer over running text.

    Built from parallel sequences of ``node_index``, name and type. Holds one dictionary entry a name and variant.
    """

    def __init__(self, nodes: Iterable[int], names: Iterable[str], types: Iterable[str]) -> None:
        exact: defaultdict[str, set[int]] = defaultdict(set)
        alias: defaultdict[str, set[int]] = defaultdict(set)
        self._names: dict[int, str] = {}
        self._types: dict[int, str] = {}
        self._longest: MutableMapping[str, int] = defaultdict(int)
        """Words of the longest name by its first word."""
        self._own: Mapping[str, tuple[int, ...]] = {}
        for node, name, node_type in zip(nodes, names, types, strict=True):
            self._names[node], self._types[node] = name, node_type
            exact[_exact_key(name)].add(node)
            for variant in name_variants(name):
                if variant:
                    alias[variant].add(node)
                    first = variant.partition(" ")[0]
                    self._longest[first] = max(self._longest[first], variant.count(" ") + 1)
        self._exact = {key: tuple(sorted(found)) for key, found in exact.items()}
        self._alias = {key: tuple(sorted(found)) for key, found in alias.items()}

    def exact(self, text: str) -> tuple[int, ...]:
        """Returns, sorted, the nodes whose name is ``text``, whatever its case and white space."""
        return self._exact.get(_exact_key(text), ())

    def alias(self, text: str) -> tuple[int, ...]:
        """Returns, sorted, the nodes one of whose :func:`name_variants` is the normal form of ``text``."""
        return self._alias.get(normal_form(text), ())

    def scan(self, text: str, side: Side) -> list[Mention]:
        """Returns the node names in a running text, leftmost and longest first, in order of appearance.

        A gene's name counts only in its own capitals (``CAT`` is catalase, ``cat`` is not), other single words only from
        four letters and unless they are :data:`GENERIC`.
        """
        text = _compose(text)
        return [Mention(text[name.start : name.end], side, None, "gazetteer") for name in self._match(text)]

    def find(self, text: str) -> Iterator[Name]:
        """Yields the names that :meth:`scan` finds, with their places in ``text`` as it is given."""
        composed, starts, ends = _align(text)
        for start, end, nodes in self._match(composed):
            yield Name(starts[start], ends[end - 1], nodes)

    def expecting(self, own: Mapping[str, tuple[int, ...]]) -> NameIndex:
        """Returns this index with further names, which count however short or general they are.

        ``own`` maps them to the nodes that they name: normal forms, or text that counts only as it is written.
        """
        longest = dict[str, int]()
        for key in own:
            first, *rest = normal_form(key).split(" ")
            longest[first] = max(longest.get(first, self._longest.get(first, 0)), len(rest) + 1)
        index = copy.copy(self)
        index._own, index._longest = own, ChainMap(longest, self._longest)
        return index

    def _match(self, text: str) -> Iterator[Name]:
        words = list(_WORD.finditer(text))
        forms = [_normal_word(word.group()) for word in words]
        start = 0
        while start < len(words):
            for length in range(min(self._longest.get(forms[start], 0), len(words) - start), 0, -1):
                end = start + length
                first, last = words[start].start(), words[end - 1].end()
                nodes = self._bearers(" ".join(forms[start:end]), text[first:last])
                if nodes:
                    yield Name(first, last, nodes)
                    start = end
                    break
            else:
                start += 1

    def _bearers(self, form: str, span: str) -> tuple[int, ...]:
        """Returns the nodes that a span names, those of ``own`` and then those whose very name it is first; none where
        it does not count."""
        own = self._own.get(form) or self._own.get(span) or ()
        nodes = [
            node
            for node in self._alias.get(form, ())
            if self._types[node] != NodeType.protein or self._names[node] == span
        ]
        genes = all(self._types[node] == NodeType.protein for node in nodes)
        telling = len(span) > 2 if genes else len(form) > 3 and not form.isdigit()
        if not own and (form in GENERIC or not telling):
            return ()
        if len(nodes) > 1:
            exact = self.exact(span)
            nodes.sort(key=lambda node: node not in exact)
        return tuple(dict.fromkeys((*own, *nodes)))


def merge_mentions(gazetteer: Iterable[Mention], engine: Iterable[Mention], limit: int) -> list[Mention]:
    """Returns the union of both, at most ``limit`` on each side; a span that both found has the engine's type.

    The gazetteer's come first: they name nodes for certain.
    """
    merged: dict[tuple[Side, str], Mention] = {}
    for mention in (*gazetteer, *engine):
        key = (mention.side, normal_form(mention.text))
        if not key[1]:
            continue
        known = merged.get(key)
        if known is None:
            merged[key] = mention
        elif known.type is None and mention.type is not None:
            merged[key] = Mention(known.text, known.side, mention.type, known.found_by)
    return [m for side in Side for m in [m for m in merged.values() if m.side == side][:limit]]


def _compose(text: str) -> str:
    return unicodedata.normalize("NFKC", text if text.isascii() else _SIGNS.sub(r"\1", text))


def _align(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """Returns a text, composed, and for each of its code points where that which it stands for starts and ends."""
    if text.isascii():
        return text, range(len(text)), range(1, len(text) + 1)
    bounds = [0, *(i for i, c in enumerate(text) if i and not unicodedata.combining(c)), len(text)]
    parts, starts, ends = list[str](), list[int](), list[int]()
    for start, end in itertools.pairwise(bounds):
        parts.append(_compose(text[start:end]))
        starts += [start] * len(parts[-1])
        ends += [end] * len(parts[-1])
    return "".join(parts), starts, ends


def _exact_key(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _normal_word(word: str) -> str:
    word = unicodedata.normalize("NFKD", word.removesuffix("'s").removesuffix("’s")).casefold()
    word = "".join(_GREEK.get(c, c) for c in word if not unicodedata.combining(c))
    if word in _ROMAN:
        return _ROMAN[word]
    for british, american in _BRITISH:
        word = word.replace(british, american)
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return word
