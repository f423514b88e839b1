"""Every exception that this package raises on purpose.

    MedReasonError
     ├── UserError              the input is at fault: exit code 2, one message, no traceback
     │    ├── ConfigError       an unknown key, a wrong type, a value out of range
     │    ├── SourceError       a file of questions or kg.csv that cannot be read as what it claims to be
     │    ├── GraphError        a graph folder that is missing, unfinished or does not fit the job
     │    ├── RunError          a run folder that is unfinished or was made by another config
     │    ├── ModelError        a model that cannot be found or loaded
     │    └── StorageError      a folder or bucket that cannot be reached, read or written
     ├── ReconcileError         counts that do not add up: a fault of ours, the run fails
     ├── RunStopped             the run was told to stop; what it finished is kept
     └── EngineError            a request that did not complete
          ├── PromptTooLong     prompt and completion exceed the model's context
          └── EngineDead        the engine will not complete anything again: its actor has to end

A question that fails is never an exception: it is a rejection with a reason : see
:class:`medreason_dist.schemas.RejectReason`.
"""

from __future__ import annotations

from collections.abc import Iterator


class MedReasonError(Exception):
    """Base class. ``exit_code`` is what a job's process ends with."""

    exit_code = 1


class UserError(MedReasonError):
    """What is wrong, where, and what to do next, in one message.

    Positional arguments only, so that the exception survives pickling between Ray processes.
    """

    exit_code = 2

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where, remedy)
        self.what, self.where, self.remedy = what, where, remedy

    def __str__(self) -> str:
        where = f"\n  where: {self.where}" if self.where else ""
        remedy = f"\n  next:  {self.remedy}" if self.remedy else ""
        return f"{self.what}{where}{remedy}"


class ConfigError(UserError):
    """A configuration that cannot be used."""


class SourceError(UserError):
    """An input file that cannot be read as what it claims to be."""


class GraphError(UserError):
    """A graph folder that is missing, unfinished or unfit."""


class RunError(UserError):
    """A run folder that is unfinished or belongs to another config."""


class ModelError(UserError):
    """A model that cannot be found or loaded."""


class StorageError(UserError):
    """A folder or bucket that cannot be reached, read or written."""


class ReconcileError(MedReasonError):
    """Counts that do not add up."""


class RunStopped(MedReasonError):
    """The run was told to stop, by a signal; the message says how to resume it."""


class EngineError(MedReasonError):
    """A request that did not complete; the question is rejected with ``engine_error``."""


class PromptTooLong(EngineError):
    """Prompt and completion exceed the model's context; the question is rejected with ``too_long``."""


class EngineDead(EngineError):
    """The engine will not complete anything again."""


def find_cause(error: BaseException) -> MedReasonError | None:
    """Returns the first :class:`MedReasonError` in an exception's chain of causes, or None.

    Ray raises a worker's exception inside its own ``RayTaskError`` and Ray Data inside ``UserCodeException``; both keep
    the original in ``cause`` or ``__cause__``.
    """
    return next((link for link in _chain(error) if isinstance(link, MedReasonError)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        links += [getattr(link, "cause", None), link.__context__, link.__cause__]
