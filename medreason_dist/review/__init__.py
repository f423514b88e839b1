"""A blind review: experts grade traces without knowing which method wrote them, and what they send back becomes figures.

    criteria.py        what is graded, and what each grade means
    sample.py          which questions of the published datasets, with the traces of each method
    questionnaire.py   what one reviewer gets: the sample in an order and on sides of its own
    page.py            a questionnaire as a page
    workbook.py        a questionnaire as a spreadsheet, and its answers read back
    key.py             the sample and who saw which method on which side: what stays at the lab
    pipeline.py        the two commands
    answers.py         the answers of one reviewer, checked field by field
    inbox.py           the files that came back
    estimate.py        means with intervals, and the sign test
    agreement.py       Krippendorff's alpha
    summary.py         all figures of a review
    presentation.py    the figures as text and as a page

    _key.json ◄── sample ──► questionnaires ──► review-<reviewer>.html, .xlsx ──► answers/ ──► summary.html, summary.json

Only ``key.py`` and what reads it know methods; a questionnaire has none to tell.
"""
