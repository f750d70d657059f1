"""The fifteen bars: `make faults` measures them at full size, `python -m tests.faults.run` at the size of `make test`.

    python -m tests.faults.run                      # all, prints a table; exit 1 when a bar is missed
    python -m tests.faults.run --only 3,7 --write   # these, and their rows of docs/reliability.md
    TAGWAY_FULL=1 TAGWAY_SCALE=0.1 python -m tests.faults.run     # full figures, a tenth as long

Seeds are printed; TAGWAY_SEED=… replays a run.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults import bars_load, bars_process
from tests.faults.measured import Measured
from tests.faults.process import ROOT
from tests.faults.size import FULL

DOCUMENT = ROOT / "docs" / "reliability.md"
SIZE = "full" if FULL else "short"
Measure = Callable[[Path], Awaitable[Measured]]


@dataclass(frozen=True)
class Bar:
    """A promise in figures: `measure` gives the figure, or the tests that hold it do, by passing."""

    number: int
    asked: str
    measure: Measure | None = None
    tests: tuple[str, ...] = ()


BARS = (
    Bar(1, "`kill -9` 100 times under load: 0 acknowledged events lost", bars_process.kills),
    Bar(
        2,
        "every whole commit back over 65,537 cuts of the log's tail; 1,000 flipped bits: no crash, nothing altered delivered",
        bars_process.power_cuts,
        (
            "tests/test_store.py::test_cut_write_ahead_log_gives_back_every_whole_commit",
            "tests/test_store.py::test_flipped_bits_never_crash_and_never_alter_what_is_delivered",
        ),
    ),
    Bar(3, "SIGTERM 100 times under load: 0 lost, exit within 25 s", bars_process.terminations),
    Bar(4, "full disk: 503 within 1 s, 0 acknowledged lost, taken again within 5 s", bars_process.disk_full),
    Bar(5, "500/s for 10 min with p99 of 100 ms at most; 2,000/s for 60 s without a 5xx", bars_load.throughput),
    Bar(6, "a dead vendor: the others' p99 at most 1.2 x", bars_load.isolation),
    Bar(7, "a backlog of 900,000 events: RSS at most 400 MB, drained at 2 x the input, 0 lost", bars_load.backlog),
    Bar(
        8,
        "10 min of outage: at most 25 requests begun once the breaker is open; 100,000 due at once: at most 10 in flight",
        tests=(
            "tests/test_lane.py::test_an_outage_costs_few_requests_each_with_another_event",
            "tests/test_lane.py::test_after_an_outage_requests_begin_one_by_one",
            "tests/test_lane.py::test_a_hundred_thousand_due_at_once_are_at_most_ten_in_flight",
        ),
    ),
    Bar(
        9,
        "1 poison event in 1,000: 999 delivered in at most 22 requests; no expired event in a request",
        tests=(
            "tests/test_lane.py::test_one_bad_event_in_a_thousand_costs_at_most_22_requests",
            "tests/test_lane.py::test_no_request_ever_holds_an_event_over_age",
        ),
    ),
    Bar(10, "bombs, 4 codings x 50: RSS +100 MB at most, all 4xx within 1 s", bars_load.bombs),
    Bar(11, "2,000 slow connections: closed within 12 s, others' p99 at most 2 x", bars_load.slow_clients),
    Bar(
        12,
        "1,000,000 odd inputs over all decoders: no exception, no 5xx, nothing that cannot be stored",
        tests=("tests/test_decoders.py", "tests/test_normalise.py", "tests/test_door_bad_input.py"),
    ),
    Bar(
        13,
        "hostile URLs, headers, redirects, origins, cookies, proxies (about 500 cases): no escape",
        tests=(
            "tests/test_transport.py",
            "tests/test_mapping_plan.py",
            "tests/test_cors.py",
            "tests/test_client_address.py",
            "tests/test_enrich.py",
            "tests/test_threats.py",
        ),
    ),
    Bar(
        14,
        "canaries outside the queue's files: none; series after 100,000 names: unchanged",
        tests=("tests/test_canaries.py", "tests/test_metrics.py", "tests/test_log.py"),
    ),
    Bar(15, "requests begun after a withdrawal is answered, 10,000 queued: 0", bars_load.withdrawal),
    Bar(16, "100 reloads under load, 30 with a broken file: 0 lost, no 5xx", bars_process.reloads),
    Bar(17, "no descriptor left for a while: taken again within 5 s, 0 lost", bars_process.descriptors),
)


def measured(bar: Bar) -> Measured:
    """Run a bar; what breaks on the way is a problem of it."""
    figures, problems = [], []
    if bar.measure:
        with tempfile.TemporaryDirectory(prefix="tagway-faults-") as folder:
            try:
                found = asyncio.run(_call(bar.measure, Path(folder)))
                figures, problems = [found.figure], list(found.problems)
            except (AssertionError, OSError, TimeoutError, subprocess.SubprocessError) as error:
                problems.append(f"{type(error).__name__}: {str(error)[:500]}")
    if bar.tests:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "3600", *bar.tests]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        counts = Counts(done.stdout + done.stderr)
        figures.append(counts.words)
        if done.returncode:
            problems.append(counts.failures or f"pytest ended with {done.returncode}")
    return Measured("; ".join(figures), problems)


async def _call(measure: Measure, folder: Path) -> Measured:
    return await measure(folder)


class Counts:
    """What a run of pytest printed last."""

    def __init__(self, output: str) -> None:
        lines = re.findall(r"^(?:=+ )?(\d+ (?:passed|failed).*?)(?: =+)?$", output, re.M)
        dots = sum(line.partition(" [")[0].count(".") for line in re.findall(r"^[.sxF]+ +\[ *\d+%\]$", output, re.M))
        self.words = re.sub(r" in .*", "", lines[-1]) if lines else f"{dots} cases passed"
        self.failures = ", ".join(re.findall(r"^FAILED (\S+)", output, re.M))[:300]


def row(bar: Bar, found: Measured) -> str:
    """A line of the table."""
    missed = "; ".join(found.problems).replace("|", "/").replace("\n", " ") or ("held" if FULL else "held at this size")
    return f"| {bar.number} | {bar.asked} | {found.figure or 'not measured'} | {missed} |"


def write(rows: dict[int, str]) -> None:
    """Replace these rows in the table of this size."""
    text = DOCUMENT.read_text()
    start, end = f"<!-- {SIZE} -->\n", f"<!-- end of {SIZE} -->"
    head, rest = text.split(start)
    table, tail = rest.split(end)
    kept = {int(line.split("|")[1]): line for line in table.splitlines() if re.match(r"\| \d+ \|", line)}
    kept |= rows
    lines = ["", "| | bar | measured | missed by |", "| --- | --- | --- | --- |", *(kept[n] for n in sorted(kept)), "", ""]
    DOCUMENT.write_text(head + start + "\n".join(lines) + end + tail)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="numbers, for example 3,7")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/reliability.md")
    args = parser.parse_args()
    wanted = {int(number) for number in args.only.split(",") if number}
    missed, rows = 0, {}
    for bar in BARS:
        if wanted and bar.number not in wanted:
            continue
        started = time.monotonic()
        found = measured(bar)
        rows[bar.number] = row(bar, found)
        missed += bool(found.problems)
        print(f"{rows[bar.number]}  ({time.monotonic() - started:.0f} s)", flush=True)
        if args.write:
            write({bar.number: rows[bar.number]})
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
