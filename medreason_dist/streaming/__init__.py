"""Shards of questions through Ray actors that hold an engine each: what every job has that asks a model.

A job brings a :class:`~medreason_dist.streaming.program.Program`, what is done with one question; this room brings workers,
completion logs, resume, faults, signals and progress.
"""
