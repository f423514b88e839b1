"""Planted transcripts: what a completion says, what the strict scorer reads, and what the authors' scorer finds.

``strict`` is a label or a reason for none; ``authors`` are the labels found first and last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

DRUGS: Final = {"A": "Glipizide", "B": "Insulin", "C": "Metformin", "D": "Metformin and insulin"}
BUGS: Final = {"A": "E. coli", "B": "Staphylococcus aureus", "C": "Candida albicans", "D": "C. difficile infection"}
VERDICTS: Final = {"A": "yes", "B": "no", "C": "maybe"}
TEN: Final = {letter: f"Finding {number}" for number, letter in enumerate("ABCDEFGHIJ", 1)}
LETTERS: Final = {"A": "B", "B": "A", "C": "B12", "D": "C and B12"}
DOSES: Final = {"A": "2", "B": "2.5", "C": "25", "D": "1 only"}
CELLS: Final = {"A": "B cell lymphoma", "B": "T cell lymphoma", "C": "C-peptide", "D": "The aorta."}

ASPIRIN: Final = {"A": "Aspirin", "B": "Aspirin (81 mg)", "C": "Heparin", "D": "Warfarin"}


class Case(NamedTuple):
    """One transcript."""

    name: str
    text: str
    strict: str
    authors: str
    options: Mapping[str, str] = DRUGS
    truncated: bool = False
    several: bool = False


CASES: Final = (
    # The form that the prompt asks for
    Case("a last line", "It lowers hepatic glucose output.\n\nAnswer: C", "C", "CC"),
    Case("with a stop", "Answer: C.", "C", "CC"),
    Case("bold", "So it is metformin.\n\n**Answer: C**", "C", "CC"),
    Case("bold cue", "**Final Answer:** C", "C", "CC"),
    Case("bold letter", "Final answer: **C**", "C", "CC"),
    Case("brackets", "Answer: (C)", "C", "CC"),
    Case("square brackets", "Answer: [C]", "C", "CC"),
    Case("letter and text", "Answer: C. Metformin", "C", "CC"),
    Case("letter and small text", "Answer: C. metformin", "C", "CC"),
    Case("letter, colon, text", "Answer: C: Metformin", "C", "CC"),
    Case("letter, bracket, text", "Answer: C) Metformin", "C", "CC"),
    Case("letter, dash, text", "Answer: C – Metformin", "C", "CC"),
    Case("letter (text)", "Answer: C (Metformin)", "C", "CC"),
    Case("letter text", "Answer: C Metformin", "C", "CC"),
    Case("text alone", "Answer: Metformin", "C", "CC"),
    Case("text (letter)", "Answer: Metformin (C)", "C", "CC"),
    Case("longer text that begins with another", "Answer: Metformin and insulin", "D", "BB"),
    Case("small letter", "answer: c", "C", "BB"),
    Case("option word", "Answer: Option C", "C", "CC"),
    Case("equals", "Answer = C", "C", "CC"),
    Case("on the next line", "**Answer:**\n\nC. Metformin", "C", "CC"),
    Case("heading", "### Answer: C", "C", "CC"),
    Case("quoted JSON", '{"answer": "C"}', "C", "CC"),
    Case("an explanation after it", "Answer: C\n\nExplanation: insulin (B) is wrong.", "C", "CB"),
    Case("Windows lines", "Reasoning.\r\nAnswer: C\r\n", "C", "CC"),
    # Sentences
    Case("the answer is", "Therefore, the answer is C.", "C", "CC"),
    Case("the answer is (C)", "The correct answer is (C) Metformin.", "C", "CC"),
    Case("the best option", "The most appropriate option is C.", "C", "CC"),
    Case("because", "The answer is C because the kidneys are fine.", "C", "CC"),
    Case("not another", "The answer is C, not D.", "C", "CC"),
    Case("text in a sentence", "The answer is metformin.", "C", "CC"),
    Case("with an article", "The answer is the aorta", "D", "DD", CELLS),
    Case("C is the correct answer", "Given all this, C is the correct answer.", "C", "CC"),
    Case("So C is the best option", "So C is the best option.", "C", "CC"),
    Case("C. text is the answer", "C. Metformin is the correct answer.", "C", "CC"),
    Case("no space behind the stop", "Insulin harms. Therefore, C.Metformin is the best choice.", "C", "CC"),
    Case("would be correct", "Given this, C. maybe would be correct.", "C", "CC", VERDICTS),
    Case("C. another's text is the answer", "(C) Insulin is the correct answer.", "contradicts", "CC"),
    Case("on the next line of a sentence", "The correct answer is:\n\n(C) Metformin", "C", "CC"),
    Case("a colon behind is", "The answer is: C", "C", "CC"),
    Case("answer choice", "Therefore, the best answer choice is **C) Metformin**.", "C", "CC"),
    Case("an answer within an answer", "Answer: The correct answer is C.", "C", "CC"),
    Case("boxed in a sentence", r"The final answer is $\boxed{C}$", "C", "CC"),
    Case("a remark in brackets", "Answer: C (see above).", "C", "CC"),
    Case("Answer: C is correct", "Answer: C is correct.", "C", "CC"),
    Case("a reason behind a dash", "Answer: C - it lowers glucose", "C", "CC"),
    Case("quotes", "The answer is 'C'.", "C", "CC"),
    Case("option C is correct", "Option B lowers it too fast. Option C is correct.", "C", "BC"),
    Case("would be", "So the best answer would be C. Metformin.", "C", "CC"),
    Case("I choose", "I would choose C.", "C", "CC"),
    Case("boxed", r"Hence $\boxed{C}$.", "C", "CC"),
    Case("boxed text", r"\boxed{\text{C. Metformin}}", "C", "CC"),
    Case("answer tag", "<answer>C</answer>", "C", "CC"),
    Case("a bare last line", "Metformin comes first.\n\nC", "C", "CC"),
    Case("a bare last line with text", "This is why.\n(C) Metformin", "C", "CC"),
    Case("nothing but the text", "Metformin", "C", "CC"),
    Case("after thinking", "<think>The answer is B?</think>The answer is C.", "C", "BC"),
    # Last stated, revised
    Case("revised by a statement", "The answer is B. On second thought, the answer is C.", "C", "BC"),
    Case("revised, and wrong", "The answer is C.\n\nAnswer: B", "B", "CC"),
    Case("actually", "The answer is B. Actually, it is C.", "C", "BB"),
    Case("wait", "Answer: B\nWait, it's C.", "C", "BC"),
    Case("the prompt's own X", "Answer: C\nEnd with: Answer: X", "not_an_option", "CC"),
    Case("another question made up", "Answer: C\n\nQuestion: next?\nAnswer: B", "B", "CB"),
    # Negations and conditions
    Case("not C", "The answer is not C.", "none_stated", "CC"),
    Case("isn't", "The answer isn't C.", "none_stated", "CC"),
    Case("not C after B", "The answer is B. The answer is not C.", "B", "BB"),
    Case("not think", "I do not think that the answer is C.", "none_stated", "CC"),
    Case("if", "If the answer is C, the potassium would be high.", "none_stated", "CC"),
    Case("a denial in another clause", "It is not insulin, so the answer is C.", "C", "CC"),
    Case("the wrong answer", "A wrong answer is B.", "none_stated", "BB"),
    Case("neither", "The answer is neither A nor B.", "none_stated", "BB"),
    Case("a question", "Is it possible that the answer is C?", "none_stated", "CC"),
    Case("correct, denied", "Option C is not correct.", "none_stated", "CC"),
    Case("unlikely", "It is unlikely that C is the best answer.", "none_stated", "CC"),
    Case("asked of two", "Is the answer B or is it C? Hard to say.", "none_stated", "BC"),
    Case("a question in brackets", "Could it be that the answer is (C)?", "none_stated", "CC"),
    Case("a question with a verb", "So the answer is C?", "none_stated", "CC"),
    Case("incorrect", "Option C is incorrect.", "none_stated", "CC"),
    # Several letters, letters beyond the options
    Case("two letters", "Answer: A and C", "several", "CC"),
    Case("two letters, comma", "Answer: A, C", "several", "AC"),
    Case("either", "The answer is B or C.", "several", "BB"),
    Case("three letters", "The answer is A, B, and C.", "several", "AA"),
    Case("a slash", "Answer: B/C", "several", "BB"),
    Case("two that are one option's text", "Answer: C and B12", "D", "CC", LETTERS),
    Case("several right", "Answer: C, A", "A,C", "CA", several=True),
    Case("several right, one given", "Answer: C", "C", "CC", several=True),
    Case("beyond the options", "Answer: F", "not_an_option", "BB"),
    Case("beyond the options, in a sentence", "The answer is E.", "not_an_option", "EE"),
    Case("none of them", "Answer: none of the above", "not_an_option", "BB"),
    Case("an open answer", "Answer: Sitagliptin", "not_an_option", "AA"),
    # Letters that are words or parts of words
    Case("A as an article", "The answer is A drug that lowers glucose.", "none_stated", "AA"),
    Case("A as the answer", "The answer is A.", "A", "AA"),
    Case("I as a pronoun", "The answer is I think clear.", "none_stated", "II", TEN),
    Case("I as the answer", "Answer: I", "I", "II", TEN),
    Case("J as the answer", "Answer: J. Finding 10", "J", "JJ", TEN),
    Case("a word's first letter", "The answer is Clopidogrel.", "none_stated", "CC"),
    Case("Answer is Not listed", "The answer is Not listed.", "none_stated", "NN"),
    Case("B cell", "The answer is B cell lymphoma.", "A", "BB", CELLS),
    Case("C-peptide", "Answer: C-peptide", "C", "CC", CELLS),
    Case("C. difficile", "The answer is C. difficile infection.", "D", "CC", BUGS),
    Case("C. difficile alone", "The answer is C. difficile.", "none_stated", "CC", BUGS),
    Case("E. coli", "The answer is E. coli.", "A", "EE", BUGS),
    Case("an abbreviation", "I would choose C.T. imaging.", "none_stated", "CC"),
    Case("vitamin C", "Vitamin C is the best option here.", "none_stated", "CC"),
    Case("a letter whose text is another's", "Answer: A", "A", "AA", LETTERS),
    # Letter and text that disagree
    Case("another's text", "Answer: B. Metformin", "contradicts", "BB"),
    Case("another's text in brackets", "The answer is Metformin (B).", "contradicts", "MM"),
    Case("another's longer text", "Answer: C. Metformin and insulin", "contradicts", "CC"),
    Case("a text that another goes on from", "Answer: Aspirin (81 mg)", "B", "AA", ASPIRIN),
    Case("own longer text", "Answer: D. Metformin and insulin", "D", "DD"),
    # Numbers
    Case("a number", "Answer: 2.5", "B", "AA", DOSES),
    Case("a number's beginning", "Answer: 2", "A", "AA", DOSES),
    Case("1 only", "The answer is 1 only.", "D", "DD", DOSES),
    # yes, no, maybe
    Case("yes", "Answer: yes", "A", "AA", VERDICTS),
    Case("No.", "The answer is No.", "B", "NN", VERDICTS),
    Case("yes, in words", "The answer is yes, mitochondria do.", "A", "AA", VERDICTS),
    Case("no longer", "The answer is no longer clear.", "none_stated", "BB", VERDICTS),
    Case("maybe", "Maybe", "C", "CC", VERDICTS),
    Case("letter and verdict", "Answer: B. No", "B", "BB", VERDICTS),
    Case("letter against verdict", "Answer: A. No", "contradicts", "AA", VERDICTS),
    # Nothing stated
    Case("options told over", "A. Glipizide\nB. Insulin\nC. Metformin", "none_stated", "AC"),
    Case("options told over behind a word", "Answer choices:\nA. Glipizide\nB. Insulin", "none_stated", "AB"),
    Case("options explained after it", "The answer is C.\nOption A: Glipizide\nOption B: Insulin", "C", "CC"),
    Case("option by option", "A. Glipizide is wrong.\nC. Metformin is safe.", "none_stated", "AC"),
    Case("an empty answer line", "The answer is C.\nAnswer:", "not_an_option", "CC"),
    Case("reasoning alone", "Metformin lowers hepatic glucose output (C), unlike B.", "none_stated", "CB"),
    Case("text in passing", "I would consider metformin before insulin.", "none_stated", "BB"),
    Case("nothing alike", "xyz", "none_stated", "AA"),
    # Cut off by the token limit
    Case("cut in reasoning", "So far the answer is C. Let me check", "truncated", "CC", truncated=True),
    Case("cut at the letter", "Answer: C", "truncated", "CC", truncated=True),
    Case("cut after the line", "Answer: C\n\nThe reason is", "C", "CC", truncated=True),
    Case("cut behind the line's end", "Answer: C\n", "C", "CC", truncated=True),
    Case("cut on the next line", "Answer:\nC", "truncated", "CC", truncated=True),
    Case("cut in thinking", "<think>The answer is C.\nAnswer: C\n", "truncated", "CC", truncated=True),
    Case("thinking without an end", "<think>The answer is C.", "none_stated", "CC"),
)
