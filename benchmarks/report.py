"""The report of a planted run: ``python -m benchmarks.report [--rows N]``.

Prints the size of the page, the seconds and the memory that writing it took, and what it asks of a browser (Chromium, if
there is one): seconds until the list is there, for a search in the index, for one in everything, and to open a question;
the memory of its JavaScript.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.planted_run import plant_run
from medreason_dist.report.run import PAGE, write_report
from medreason_dist.storage import Folder


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=30_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        run = Folder(name)
        plant_run(run, rows)
        before = peak_memory()
        started, busy = time.perf_counter(), time.process_time()
        write_report(run, audit_rows=rows)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        size = (run.path / PAGE).stat().st_size
        print(f"{rows:,} rows: page {size / 1e6:.1f} MB, {size / rows:,.0f} bytes a row")
        print(
            f"written in {seconds:.1f} s, {busy:.1f} s of CPU; "
            f"peak memory {before:.0f} MB before, {peak_memory():.0f} MB after"
        )
        if (chromium := shutil.which("chromium")) is None:
            print("no chromium: not opened")
        else:
            open_page(run.path / PAGE, chromium, rows)


def peak_memory() -> float:
    """Returns the peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def open_page(page: Path, chromium: str, rows: int) -> None:
    """Prints what the page takes in a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_default_timeout(120_000)
        started = time.perf_counter()
        tab.goto(f"{page.as_uri()}#list", wait_until="commit")
        tab.wait_for_selector(".rows li")
        print(f"list after {time.perf_counter() - started:.1f} s: {tab.inner_text('.count')}")
        # Both words are there: one is in most questions, the other in no question but in the details of all accepted rows.
        for name, address in (("index", "text=patient+12"), ("everything", "text=planted&everything=1")):
            started = time.perf_counter()
            tab.evaluate("address => { say(''); location.hash = address; }", address)
            tab.wait_for_function("() => document.querySelector('.count').textContent.endsWith('questions')")
            print(f"search in the {name}: {time.perf_counter() - started:.2f} s, {tab.inner_text('.count')}")
        started = time.perf_counter()
        tab.evaluate(f"location.hash = `q=${{rows[{rows // 2}].id}}`")
        tab.wait_for_selector("#question h1")
        print(f"a question: {time.perf_counter() - started:.2f} s")
        session = tab.context.new_cdp_session(tab)
        session.send("HeapProfiler.collectGarbage")
        used = session.send("Runtime.getHeapUsage")["usedSize"]
        print(f"JavaScript heap: {used / 1e6:.0f} MB")
        browser.close()


if __name__ == "__main__":
    main()
