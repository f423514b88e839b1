"""The paper's experiment: does fine-tuning on the data help, and do the graph's paths? Joins the other rooms' jobs.

steps.py      each step's config: its folder below ``compare.uri``, and what differs from the file's
pipeline.py   generate → publish → fine-tune each variant → evaluate each → compare
table.py      what came out, as one table
"""
