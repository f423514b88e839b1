"""Content ids: what changes them, what does not, and that they are the same on every machine."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.ids import derive_seed, fingerprint, normalize_text, question_id

TEXT = st.text(max_size=20)


def test_known_values() -> None:
    assert fingerprint({"b": [1, None], "a": "é"}) == fingerprint({"a": "é", "b": [1, None]})
    assert fingerprint([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    assert question_id("q?", None, ["x", "y"], "x") == fingerprint(["q?", "", "x", "y", "x"])[:32]
    assert derive_seed(0, "a", "trace", 1) == int(fingerprint(["0", "a", "trace", "1"])[:8], 16) & 0x7FFFFFFF


@given(TEXT)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once == once.strip()
    assert "  " not in once


@given(TEXT, TEXT, st.lists(TEXT, max_size=4), TEXT)
def test_unicode_form_and_white_space_do_not_matter(
    question: str, context: str, options: list[str], answer: str
) -> None:
    def spread(text: str) -> str:
        return "\t" + unicodedata.normalize("NFD", text).replace(" ", " \n") + "\u00a0"

    spread_options = [spread(option) for option in options]
    assert question_id(question, context, options, answer) == question_id(
        spread(question), spread(context), spread_options, spread(answer)
    )


def test_everything_else_matters() -> None:
    rows = [
        ("q", None, ["a", "b"], "a"),
        ("q", None, ["b", "a"], "a"),
        ("q", None, ["a", "b"], "b"),
        ("q", None, ["a"], "a"),
        ("q", None, [], "a"),
        ("q", "c", ["a", "b"], "a"),
        ("Q", None, ["a", "b"], "a"),
        ("q", None, ["a b"], "a"),
    ]
    assert len({question_id(*row) for row in rows}) == len(rows)


@given(st.lists(st.one_of(TEXT, st.integers()), max_size=5))
def test_seed_is_a_31_bit_number(parts: list[str | int]) -> None:
    assert 0 <= derive_seed(*parts) < 2**31
