"""How good a model is on the field's benchmarks: their questions, one prompt each, two scorers, and what differs.

``program.py`` is what a worker does with one question, ``pipeline.py`` the run on Ray; the rest is pure but for its files.
"""
