"""``_key.json``: the sample, and for each reviewer which method stands on which side of which item.

It is the first file of a review's folder and claims it, and the only one that tells methods: it stays at the lab.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from medreason_dist.errors import RunError, StorageError
from medreason_dist.review.questionnaire import Questionnaire, Sides, assign_sides, build_questionnaire
from medreason_dist.review.sample import Origin, Sample, SampledQuestion
from medreason_dist.storage import Folder

KEY: Final = "_key.json"
REMEDY: Final = "give another review.uri, or delete the folder"


@dataclass(frozen=True)
class Assignment:
    """How one reviewer sees the sample."""

    questionnaire: str
    """Fingerprint of what was sent."""
    sides: Sides


@dataclass(frozen=True)
class Key:
    """What a review is about, and who sees what."""

    sample: Sample
    reviewers: Mapping[str, Assignment]

    def questionnaire(self, reviewer: str) -> Questionnaire:
        """Returns what a reviewer of the key sees."""
        return build_questionnaire(self.sample, reviewer, self.reviewers[reviewer].sides)

    def extend(self, reviewers: Sequence[str]) -> Key:
        """Returns the key with those reviewers added that it does not have yet; the others keep their sides."""
        added = {name: _assign(self.sample, name) for name in reviewers if name not in self.reviewers}
        return replace(self, reviewers={**self.reviewers, **added})


def claim_folder(folder: Folder, sample: Sample, reviewers: Sequence[str]) -> Key:
    """Takes a folder for a review, or again for the same one, and returns its key with these reviewers.

    Raises :class:`StorageError` for a folder that holds another review, or anything else.
    """
    there = folder.names()
    if there and KEY not in there:
        raise StorageError(f"the folder holds something else, such as {there[0]}", folder.uri, REMEDY)
    key = Key(sample, {}).extend(reviewers)
    if folder.create(KEY, _to_json(key)):
        return key
    held = read_key(folder)
    if held.sample.fingerprint != sample.fingerprint:
        what = "another sample is reviewed there: of other datasets, or by another seed or size"
        raise StorageError(what, folder.uri, REMEDY)
    key = held.extend(reviewers)
    if key != held:
        folder.write(KEY, _to_json(key))
    return key


def read_key(folder: Folder) -> Key:
    """Returns the key of a review; :class:`RunError` where there is none, or one that is not as it was written."""
    try:
        held = folder.read_json(KEY)
    except FileNotFoundError:
        what = f"there is no review: the folder has no {KEY}"
        raise RunError(what, folder.uri, "make it with jobs/review.py, or name its folder as review.uri") from None
    try:
        sample = _to_sample(held["sample"])
        reviewers = {name: Assignment(**each) for name, each in held["reviewers"].items()}
        intact = sample.fingerprint == held["fingerprint"]
    except (KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        where = f"{folder.uri}/{KEY}"
        raise RunError("the key was changed after it was written", where, "put back the file that jobs/review.py wrote")
    return Key(sample, reviewers)


def _assign(sample: Sample, reviewer: str) -> Assignment:
    sides = assign_sides(sample, reviewer)
    return Assignment(build_questionnaire(sample, reviewer, sides).fingerprint, sides)


def _to_json(key: Key) -> bytes:
    held = {"fingerprint": key.sample.fingerprint, **asdict(key)}
    return (json.dumps(held, indent=1, ensure_ascii=False) + "\n").encode()


def _to_sample(held: Mapping[str, Any]) -> Sample:
    origins = {method: Origin(**origin) for method, origin in held["origins"].items()}
    return Sample(**{**held, "origins": origins, "questions": [SampledQuestion(**each) for each in held["questions"]]})
