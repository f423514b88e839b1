"""The program of one question: pure functions on records. No I/O, no clock, no unseeded randomness.

Reads from ``program.py``: mentions → linking → paths → prompts and responses → verification.
"""
