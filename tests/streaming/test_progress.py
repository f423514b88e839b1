"""The line that tells how far a run is."""

from __future__ import annotations

import asyncio
import io

import pytest

from medreason_dist.streaming.progress import MAX_STARTS, Board, Order, Progress, ProgressLine, format_progress

TRACE = {
    "status": "accepted",
    "usage": [
        {"prompt_tokens": 100, "completion_tokens": 20, "replayed_tokens": 0},
        {"prompt_tokens": 40, "completion_tokens": 2, "replayed_tokens": 7},
    ],
}


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_the_line_holds_what_a_person_wants_to_know() -> None:
    counts = {
        "workers": 1,
        "status.accepted": 81,
        "status.rejected": 109,
        "prompt_tokens": 200_000,
        "completion_tokens": 31_000,
    }
    line = format_progress(counts, done=3, total=8, questions=512, elapsed_s=100.0)
    assert line == ("shards 3/8 · questions 190/512 · accepted 81 · rejected 109 · 2,310 tokens/s · ETA 2m49s")


def test_before_the_first_report_and_at_the_start() -> None:
    assert format_progress({}, 0, 8, 512, 12.7) == "shards 0/8 · loading the engines · 12 s"
    assert format_progress({"workers": 1}, 0, 8, 512, 0.0).endswith("0 tokens/s · ETA unknown")


@pytest.mark.ray
@pytest.mark.parametrize(("out", "end"), [(Terminal(), "\n"), (io.StringIO(), "ETA 0m00s\n")])
def test_one_line_on_a_terminal_log_lines_elsewhere(ray: None, out: io.StringIO, end: str) -> None:
    import ray as ray_module

    async def report(progress: Progress) -> None:
        await progress.worker_started()
        assert await progress.start("shard") is Order.work
        progress.add(TRACE)
        await progress.end("shard")

    board = ray_module.remote(Board).remote(1)
    with ProgressLine(board, total=1, done=0, questions=1, out=out) as line:
        asyncio.run(report(Progress(board)))
        line.shard_done()
    last = out.getvalue().split("\r")[-2 if out.isatty() else -1]
    assert last.startswith("shards 1/1 · questions 1/1 · accepted 1 · ")
    assert out.getvalue().endswith(end)
    assert ray_module.get(board.read.remote())["replayed_tokens"] == 7


def test_a_shard_that_was_started_three_times_is_set_aside() -> None:
    board = Board(1)
    assert [board.start("a") for _ in range(4)] == [Order.work] * MAX_STARTS + [Order.set_aside]
    assert board.start("b") is Order.work
    assert board.active() == 1
    board.end("b")
    assert board.active() == 0


def test_workers_that_complete_nothing_are_counted() -> None:
    board = Board(1)
    assert [board.worker_started() for _ in range(4)] == [0, 1, 2, 3]
    board.exchange({"replayed_tokens": 5})
    assert board.worker_started() == 4
    board.exchange({"completion_tokens": 5})
    assert board.worker_started() == 1


def test_as_many_workers_as_the_run_has_may_start_before_any_completes() -> None:
    board = Board(64)
    assert [board.worker_started() for _ in range(65)] == [0] * 64 + [1]


def test_nothing_starts_once_the_run_is_to_stop() -> None:
    board = Board(1)
    assert not board.exchange({})
    board.stop()
    assert board.exchange({}) and board.start("a") is Order.stop
