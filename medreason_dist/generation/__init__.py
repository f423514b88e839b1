"""The main job: what a run consists of, what is done with one question, what came of it, and what it will come to."""
