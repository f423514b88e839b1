"""One holder at a time, on a disk and on a real S3 server; a dead one is succeeded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.s3_server import S3Server
from medreason_dist.errors import StorageError
from medreason_dist.storage import Folder, hold_lease

BEAT_S = 0.1


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path))
    s3: S3Server = request.getfixturevalue("s3")
    return Folder(f"{s3.new_bucket()}/graph", s3.storage)


def leave(folder: Folder, number: int, **changes: Any) -> None:
    """Leaves the lease of a holder on another machine that died."""
    holder = {"host": "elsewhere", "pid": 1, "token": "t", "beat": 3, **changes}
    folder.write(f"_build.{number}.json", json.dumps(holder).encode())


def test_a_second_holder_is_refused_while_the_first_lives(folder: Folder) -> None:
    with hold_lease(folder, "build", BEAT_S) as require_held:
        with (
            pytest.raises(StorageError, match=rf"process {os.getpid()} on .* is at work"),
            hold_lease(folder, "build", 1),
        ):
            pass
        with hold_lease(folder, "other", BEAT_S):
            require_held()
    assert folder.names() == []
    with hold_lease(folder, "build", BEAT_S):
        pass


def test_a_holder_that_gives_no_sign_of_life_is_succeeded(folder: Folder) -> None:
    leave(folder, 0)
    leave(folder, 1)
    with hold_lease(folder, "build", BEAT_S) as require_held:
        assert folder.names() == ["_build.0.json", "_build.1.json", "_build.2.json"]
        require_held()
    assert folder.names() == []


@pytest.mark.slow
def test_one_of_many_succeeds_a_dead_holder(folder: Folder) -> None:
    leave(folder, 0)

    def attempt(_: int) -> bool:
        try:
            with hold_lease(folder, "build", BEAT_S):
                time.sleep(3)
                return True
        except StorageError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_holder_that_was_succeeded_is_told(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with hold_lease(folder, "build", BEAT_S) as require_held:
        leave(folder, 1)
        with pytest.raises(StorageError, match="process 1 on elsewhere is at work"):
            require_held()


def test_a_holder_that_was_succeeded_leaves_the_leases_to_its_successor(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with hold_lease(folder, "build", BEAT_S):
        leave(folder, 1)
    assert folder.names() == ["_build.0.json", "_build.1.json"]


def test_a_holder_whose_lease_another_wrote_is_told(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with hold_lease(folder, "build", 60) as require_held:
        leave(folder, 0)
        with pytest.raises(StorageError, match="process 1 on elsewhere is at work"):
            require_held()


def test_a_lease_that_ends_while_another_waits_is_not_counted(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    leave(folder, 0)
    leave(folder, 1)
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(_end_leases, folder)
        with hold_lease(folder, "build", 0.3):
            ending.result()
            assert folder.names() == ["_build.0.json"]


@pytest.mark.slow
def test_a_killed_process_of_this_machine_is_succeeded_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom medreason_dist.storage import Folder, hold_lease\n"
        "with hold_lease(Folder(sys.argv[1]), 'build', 60):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match="is at work"), ThreadPoolExecutor(1) as pool:
        # It gives its first sign of life after 60 s only: be it for a lease that asks more often.
        pool.submit(_beat, tmp_path / "_build.0.json")
        with hold_lease(Folder(str(tmp_path)), "build", 1):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with hold_lease(Folder(str(tmp_path)), "build", 600):
        pass
    assert list(tmp_path.iterdir()) == []


def _beat(path: Path) -> None:
    time.sleep(1.5)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beat": 1}))


def _end_leases(folder: Folder) -> None:
    time.sleep(0.5)
    folder.delete_all(["_build.1.json", "_build.0.json"])
