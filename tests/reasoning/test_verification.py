from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medreason_dist.reasoning.records import Question, Rejected, Verdict
from medreason_dist.reasoning.verification import (
    Stripped,
    match_labels,
    require_correct,
    require_substance,
    split_sentences,
    strip_answer_statements,
)
from medreason_dist.schemas import RejectReason

OPTIONS = {"A": "Glipizide", "B": "Insulin glargine", "C": "Metformin", "D": "Sitagliptin"}
FACT = "The liver makes less glucose when AMPK is active."

STATEMENTS = [
    "The answer is C.",
    "the answer is c",
    "Thus, metformin is correct.",
    "Therefore, Metformin should be started.",
    "Answer: C",
    "So the correct option is (C).",
    "C is correct because it activates AMPK.",
    "(C)",
    "C.",
    "C) Metformin",
    "Metformin.",
    "Metformin",
    "Option C fits best.",
    "option c is right",
    "We can rule out glipizide, insulin glargine and sitagliptin.",
    "The best choice here would be metformin.",
    "I would choose C.",
    "This leaves C.",
    "Hence: **Metformin**",
    "As the provided answer states, it lowers glucose.",
    "The most likely drug is metformin.",
    "Options A, B and D are wrong.",
    'Choice "C" is the drug of choice.',
    "**C**",
    "In conclusion, metformin.",
    "Consequently metformin treats it.",
    "The right answer must be C",
    "Of the four, C seems most appropriate.",
    "Answer (C)",
    "My final answer: metformin",
    "Only C remains.",
    "Sitagliptin and glipizide are incorrect.",
    "The answer, then, is C.",
    "The answer is therefore C.",
    "That makes C the answer.",
    "It is C.",
    "Correct: C",
    "A, B, and D can be eliminated.",
    "C: Metformin",
    "The correct answer is option C: Metformin.",
]

MEDICINE = [
    "The answer is a matter of debate.",
    "The choice a clinician makes depends on renal function.",
    "Metformin activates AMPK in the liver.",
    "The patient has vitamin C deficiency.",
    "Hepatitis B is caused by a virus.",
    "A 58-year-old man has type 2 diabetes mellitus.",
    "Factor V deficiency is rare.",
    "A patient with B cell lymphoma is seen.",
    "Metformin is contraindicated in renal failure, as lactic acidosis may follow.",
    "Insulin glargine lowers glucose.",
    "The right ventricle is enlarged.",
    "A drug that activates AMPK reduces gluconeogenesis.",
    "Type A influenza is common.",
    "The vitamin D is right below the threshold.",
    "C peptide is low in type 1 diabetes.",
    "Complement C is consumed.",
    "Hemoglobin A is normal.",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_answer_statements_go_and_the_facts_around_them_stay(statement: str) -> None:
    stripped = strip_answer_statements(f"{FACT} {statement}\n{FACT}", OPTIONS, "Metformin")
    assert stripped.text == f"{FACT} {FACT}"
    assert stripped.removed


@pytest.mark.parametrize("heading", ["Conclusion", "**Conclusion:**", "Final answer:", "# Summary", "Answer"])
def test_what_stands_below_a_conclusions_heading_is_a_conclusion(heading: str) -> None:
    stripped = strip_answer_statements(f"{FACT}\n{heading}\n{FACT} Metformin works here.", OPTIONS, "Metformin")
    assert stripped == Stripped(f"{FACT} {FACT}", (heading, "Metformin works here."))


@pytest.mark.parametrize("statement", ["Conclusion: metformin works here.", "## Conclusion Metformin works here."])
def test_a_conclusion_on_its_headings_line_goes(statement: str) -> None:
    assert strip_answer_statements(f"{FACT} {statement}", OPTIONS, "Metformin").text == FACT


@pytest.mark.parametrize("word", ["A ", "vs. ", "a. ", "e.g. ", "1. ", "x", "(A) ", ".", "\u0301\u0316", "option "])
def test_a_word_that_is_repeated_without_end_takes_no_more_than_its_length(word: str) -> None:
    reasoning = word * (40_000 // len(word))
    stripped = strip_answer_statements(reasoning, OPTIONS, "Metformin")
    assert stripped.text or stripped.removed


@pytest.mark.parametrize("sentence", MEDICINE)
def test_medicine_with_letters_and_option_names_stays(sentence: str) -> None:
    assert strip_answer_statements(sentence, OPTIONS, "Metformin") == Stripped(sentence, ())


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("Thus, metformin is correct.", "Metformin"),
        ("Therefore the patient should take metformin.", "Metformin"),
        ("Metformin.", "Metformin"),
        ("In conclusion, chronic lymphocytic leukaemia.", "Chronic lymphocytic leukemia"),
        ("The answer is Sjögren's syndrome.", "Sjogren syndrome"),
    ],
)
def test_an_open_answer_is_taken_out_too(statement: str, answer: str) -> None:
    assert strip_answer_statements(f"{FACT} {statement}", {}, answer).text == FACT


def test_letters_mean_nothing_without_options() -> None:
    assert strip_answer_statements("Vitamin C is low. (C)", {}, "scurvy").removed == ()


def test_ten_options_and_the_pronoun_i() -> None:
    options = {letter: f"option text {letter}" for letter in "ABCDEFGHIJ"}
    text = "I think of the joint first. Iron is low."
    assert strip_answer_statements(text, options, "option text A").text == text
    assert strip_answer_statements("The answer is J.", options, "option text J").text == ""


def test_yes_no_maybe_are_stripped_only_as_statements() -> None:
    options = {"A": "yes", "B": "no", "C": "maybe"}
    text = "The study found no difference between groups."
    assert strip_answer_statements(text, options, "no").text == text
    assert strip_answer_statements(f"{text} Therefore, the answer is no. No.", options, "no").text == text


@given(st.text(max_size=300))
def test_nothing_is_lost_and_nothing_raises(text: str) -> None:
    stripped = strip_answer_statements(text, OPTIONS, "Metformin")
    sentences = split_sentences(text)
    assert len(stripped.removed) <= len(sentences)
    assert sum(map(len, stripped.removed)) + len(stripped.text.replace(" ", "")) <= len(text)


def test_sentences_end_at_stops_lines_and_list_items_not_at_abbreviations() -> None:
    text = "He took 5 mg of e.g. Aspirin. Then E. coli grew.\n- first\n- second; Third"
    assert split_sentences(text) == [
        "He took 5 mg of e.g. Aspirin.",
        "Then E. coli grew.",
        "- first",
        "- second",
        "Third",
    ]


def test_too_little_left_is_a_leak() -> None:
    with pytest.raises(Rejected) as rejected:
        require_substance(Stripped("only three words", ("The answer is C.",)), min_words=8)
    assert rejected.value.reason is RejectReason.leaked_answer
    assert "3 words" in rejected.value.detail


def question(label: str | None) -> Question:
    options = OPTIONS if label else {}
    return Question("q", "Which?", None, options, "Metformin", label, None)


@pytest.mark.parametrize(
    ("label", "answer", "verdict"),
    [("C", "C", "correct"), ("C", "A", "incorrect"), ("A,C", "C,A", "correct"), ("A,C", "A", "incorrect")],
)
def test_labels_match_as_sets(label: str, answer: str, verdict: str) -> None:
    assert match_labels(question(label), answer) == verdict


def test_incorrect_is_wrong_answer_with_options_and_judge_rejected_without() -> None:
    for label, reason in (("C", RejectReason.wrong_answer), (None, RejectReason.judge_rejected)):
        with pytest.raises(Rejected) as rejected:
            require_correct(question(label), "A", Verdict("incorrect", "judge"))
        assert rejected.value.reason is reason
    require_correct(question("C"), "C", Verdict("correct", "option_match"))
