"""The tree of exceptions: messages, exit codes, pickling between processes, and causes behind Ray's wrappers."""

from __future__ import annotations

import pickle

import pytest

from medreason_dist import errors
from medreason_dist.errors import (
    EngineDead,
    EngineError,
    MedReasonError,
    ModelError,
    PromptTooLong,
    ReconcileError,
    StorageError,
    UserError,
    find_cause,
)

ALL = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, MedReasonError)]


class Wrapper(Exception):
    """An exception that keeps the original in ``cause``, as Ray's do."""

    def __init__(self, cause: BaseException | None) -> None:
        super().__init__("wrapped")
        self.cause = cause


def test_message_says_what_where_and_what_next() -> None:
    assert str(StorageError("gone", "s3://b", "make it")) == "gone\n  where: s3://b\n  next:  make it"
    assert str(StorageError("gone")) == "gone"


@pytest.mark.parametrize("kind", ALL, ids=[kind.__name__ for kind in ALL])
def test_exit_code_docstring_and_place_in_the_tree(kind: type[MedReasonError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UserError) else 1)
    assert kind.__doc__
    assert kind.__name__ in str(errors.__doc__)


@pytest.mark.parametrize("error", [ModelError("what", "where", "next"), EngineDead("dead"), ReconcileError("5 != 4")])
def test_survives_pickling(error: MedReasonError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.args) == (str(error), error.args)


def test_prompt_too_long_is_an_engine_error() -> None:
    assert issubclass(PromptTooLong, EngineError) and not issubclass(PromptTooLong, EngineDead)


def test_find_cause_through_wrappers_cause_and_context() -> None:
    error = ModelError("no model")
    assert find_cause(error) is error
    assert find_cause(Wrapper(Wrapper(error))) is error
    outer = ValueError("outer")
    outer.__cause__ = Wrapper(error)
    assert find_cause(outer) is error
    context = ValueError("context")
    context.__context__ = error
    assert find_cause(context) is error


def test_find_cause_without_one_and_in_a_circle() -> None:
    assert find_cause(ValueError("x")) is None
    circle = Wrapper(None)
    circle.cause = Wrapper(circle)
    circle.__cause__ = circle
    assert find_cause(circle) is None
