"""Published datasets of two methods on invented questions, as jobs/publish_dataset.py lays them out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from medreason_dist.ids import fingerprint, question_id
from medreason_dist.schemas import PUBLISHED
from medreason_dist.storage import MANIFEST, Folder


class Case(NamedTuple):
    """An invented question with a trace of each method."""

    dataset: str
    question: str
    options: tuple[str, ...]
    label: str | None
    answer: str
    graph: str
    plain: str
    context: str | None = None


CASES = (
    Case(
        "medqa",
        "A 61-year-old woman with type 2 diabetes and an eGFR of 24 mL/min/1.73 m² asks for a tablet that lowers her "
        "glucose. Her heart failure is well controlled. Which drug should she not be given?",
        ("Linagliptin", "Metformin", "Insulin glargine", "Repaglinide"),
        "B",
        "Metformin",
        "Metformin is indicated for type 2 diabetes mellitus. It is not metabolised and leaves the body through the kidney "
        "by OCT2 and MATE1. With an eGFR below 30 mL/min/1.73 m² it accumulates. Accumulated metformin inhibits complex I "
        "of the respiratory chain, so that lactate rises. Lactic acidosis is rare but often fatal. Linagliptin is excreted "
        "in the bile and needs no change of dose.",
        "The patient has diabetes and bad kidneys. Many drugs for diabetes are given as tablets. Metformin is metabolised "
        "by CYP3A4 in the liver. Because the liver of a diabetic is fatty, the drug builds up there. It is therefore the "
        "one to avoid.",
    ),
    Case(
        "medqa",
        "A 34-year-old man has episodes of headache, sweating and palpitations, with a blood pressure of 210/120 mmHg in "
        "one of them. Which measurement in plasma confirms the diagnosis that you suspect?",
        ("Aldosterone and renin", "Free metanephrines", "Thyrotropin", "Cortisol at midnight"),
        "B",
        "Free metanephrines",
        "Spells of headache, sweating and palpitations point to a pheochromocytoma. The tumor has COMT within its cells. "
        "COMT turns adrenaline and noradrenaline into metanephrine and normetanephrine. These leak out all the time, also "
        "between spells. Free metanephrines in plasma are therefore raised in nearly all patients.",
        "High blood pressure in a young man has to be secondary.\n1. Conn's syndrome gives a low potassium.\n2. Cushing's "
        "syndrome gives a moon face.\n3. Thyrotoxicosis gives a low TSH.\nNone of these fits the sudden spells. A tumor of "
        "the adrenal medulla does, and it is found by its metabolites.",
    ),
    Case(
        "medmcqa",
        "Which nerve is at risk in a fracture of the surgical neck of the humerus?",
        ("Radial nerve", "Ulnar nerve", "Axillary nerve", "Median nerve"),
        "C",
        "Axillary nerve",
        "The axillary nerve winds around the surgical neck of the humerus through the quadrangular space. A fracture there "
        "may stretch it. Its motor branch supplies deltoid and teres minor. Weak abduction and a numb patch over the "
        "deltoid are the signs.",
        "The radial nerve lies in the spiral groove of the shaft. The ulnar nerve lies behind the medial epicondyle. The "
        "median nerve lies in front of the elbow. Only the axillary nerve is left.",
    ),
    Case(
        "pubmedqa",
        "Does a nurse-led telephone call after discharge reduce readmissions for heart failure within 30 days?",
        ("yes", "no", "maybe"),
        "C",
        "maybe",
        "The trial compared a call within 48 hours with usual care. Readmissions were 18 % and 21 %. The interval of the "
        "difference includes 0. Adherence to diuretics was better with the call. An effect is possible but not shown.",
        "Calls are good for patients. Fewer patients came back in the group with calls. The study was small, so the answer "
        "cannot be a clear yes.",
        "BACKGROUND: Readmissions for heart failure are frequent. METHODS: 412 patients of three hospitals were randomised "
        "to a call by a nurse within 48 hours of discharge or to usual care. RESULTS: Within 30 days 18 % and 21 % were "
        "readmitted (difference -3 points, 95 % interval -11 to 5). More patients in the group with calls took their "
        "diuretic as prescribed (84 % and 71 %).",
    ),
    Case(
        "huatuo",
        "A child has had a barking cough and inspiratory stridor since last night. What do you give first, and why?",
        (),
        None,
        "A single dose of oral dexamethasone: it reduces the swelling below the glottis within hours.",
        "A barking cough with inspiratory stridor is croup, most often by parainfluenza virus. The mucosa below the glottis "
        "swells. Dexamethasone binds the glucocorticoid receptor and lessens the oedema. One oral dose of 0.15 to 0.6 mg/kg "
        "lasts for up to 72 hours. Nebulised adrenaline is added where stridor is heard at rest.",
        "Stridor is a sound of the upper airway. Croup is a bacterial infection; antibiotics are the first choice. Steam "
        "may help as well. Steroids are kept for children who do not improve.",
    ),
)


def write_dataset(
    folder: Path, rows: Iterable[Mapping[str, Any]], splits: tuple[str, ...] = ("train", "test")
) -> Folder:
    """Writes rows of :data:`PUBLISHED` (columns that they lack are null) in turn to the splits, and the manifest."""
    target = Folder(str(folder))
    held = [{"options": "", **row} for row in rows]
    files, counts = {}, {}
    for place, split in enumerate(splits):
        table = pa.Table.from_pylist(held[place :: len(splits)], PUBLISHED)
        name = f"data/{split}-00000.parquet"
        target.write_table(name, table)
        files[name] = hashlib.sha256(target.read(name)).hexdigest()
        counts[split] = table.num_rows
    manifest = {"fingerprint": fingerprint(files), "splits": counts, "files": files, "decontamination": {}}
    target.write_json(MANIFEST, manifest)
    return target


def published_rows(count: int, method: str) -> list[dict[str, Any]]:
    """Returns ``count`` rows of the cases over and over, with the traces of ``graph`` or ``plain``."""
    return [_row(number, CASES[number % len(CASES)], method) for number in range(count)]


def _row(number: int, case: Case, method: str) -> dict[str, Any]:
    question = case.question if number < len(CASES) else f"{case.question} (case {number})"
    lettered = [f"{letter}. {text}" for letter, text in zip("ABCD", case.options, strict=False)]
    return {
        "question_id": question_id(question, case.context, case.options, case.answer),
        "dataset_name": case.dataset,
        "id_in_dataset": str(number),
        "question": question,
        "context": case.context,
        "options": "Answer Choices:\n" + "\n".join(lettered) if lettered else "",
        "answer": case.answer,
        "answer_label": case.label,
        "reasoning": getattr(case, method),
        "model": f"invented/{method}-model",
    }
