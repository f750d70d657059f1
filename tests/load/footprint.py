"""What an event takes beside CPU: disk, syncs, network, requests. `python -m tests.load.footprint [--write]`.

The event and the vendors are the benchmark's: 850-byte purchases to meta, ga4 and tiktok, each of another visitor. Bytes kept
are the pages of the database by table, once every lane has settled; bytes written are the kernel's count for the process,
write-ahead log and checkpoints included; what is sent is counted at the far end. `--write` renews the table of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import uvloop

from tests.faults.process import ROOT, free_port
from tests.load.driver import purchase
from tests.load.gateways import LOAD_CORE, SERVER_CORE, Pinned, get_json, write_config
from tests.load.gateways import load as drive
from tests.load.sink import Sink

PAGE = ROOT / "docs" / "scaling.md"
START, END = "<!-- footprint -->", "<!-- end of footprint -->"
VENDORS = ("meta", "ga4", "tiktok")
RATES = (200, 1000)
"""Hits a second at which commits and requests are counted."""
KEPT = {"log": "kept in the log", "seen": "kept for de-duplication", "firing": "kept as the record of requests"}
OTHER = "kept otherwise"
Figures = dict[str, tuple[float, str]]
"""What was measured → (value, unit)."""


class CountingSink(Sink):
    """The benchmark's sink, that also counts the bytes it is sent."""

    def data_received(self, data: bytes) -> None:
        self.counts["bytes"] += len(data)
        super().data_received(data)


async def _sink(port: int) -> None:
    await asyncio.get_running_loop().create_server(CountingSink, "127.0.0.1", port)
    await asyncio.Event().wait()


@contextmanager
def _running(folder: Path) -> Iterator[tuple[Pinned, str, str, str]]:
    """(gateway, its base, its metrics, the sink's base)."""
    sink, public = free_port(), free_port()
    config = write_config(folder, sink, VENDORS, public)
    metrics = re.findall(r"listen: (\S+)", config.read_text())[2]
    far = Pinned(LOAD_CORE, "tests.load.footprint", "--sink", str(sink))
    gateway = Pinned(SERVER_CORE, "gateway", "serve", "-c", str(config), "--drain", "0")
    try:
        far.wait(f"http://127.0.0.1:{sink}/count")
        gateway.wait(f"http://127.0.0.1:{public}/readyz")
        yield gateway, f"http://127.0.0.1:{public}", f"http://{metrics}/metrics", f"http://127.0.0.1:{sink}"
    finally:
        gateway.end()
        far.end()


def measure(events: int, seconds: int) -> Figures:
    """Run a gateway, a closed loop of `events` hits, then `seconds` of each rate."""
    with tempfile.TemporaryDirectory(prefix="tagway-footprint-") as text:
        folder = Path(text)
        with _running(folder) as (gateway, base, metrics, sink):
            drive(f"{base}/v1/events?k=wk_bench", 200, 8)
            _until_sent(sink, 200)
            kept, written, far = pages(folder), _written(gateway), get_json(f"{sink}/count")
            drive(f"{base}/v1/events?k=wk_bench", events, 64)
            _until_sent(sink, 200 + events)
            time.sleep(1)
            found = _kept(kept, pages(folder), events)
            found["written to disk"] = ((_written(gateway) - written) / events, "B")
            sent = get_json(f"{sink}/count")
            found["received"] = (len(orjson.dumps(purchase(events))) + 170, "B")
            found["sent to the three vendors"] = ((sent["bytes"] - far["bytes"]) / events, "B")
            for rate in RATES:
                found |= _at(rate, seconds, base, metrics, sink)
            return found


def _at(rate: int, seconds: int, base: str, metrics: str, sink: str) -> Figures:
    commits, before = _commits(metrics), get_json(f"{sink}/count")
    count = rate * seconds
    started = time.monotonic()
    drive(f"{base}/v1/events?k=wk_bench", count, 64, rate=rate)
    took = time.monotonic() - started
    after_commits = _commits(metrics)
    _until_sent(sink, before["meta"] + count)
    after = get_json(f"{sink}/count")
    found: Figures = {f"commits at {rate}/s": ((after_commits - commits) / took, "/s")}
    for vendor in VENDORS:
        asked = after[f"requests {vendor}"] - before[f"requests {vendor}"]
        found[f"events a request to {vendor} at {rate}/s"] = ((after[vendor] - before[vendor]) / asked, "")
    return found


def _until_sent(sink: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while any(get_json(f"{sink}/count").get(vendor, 0) < count for vendor in VENDORS):
        if time.monotonic() > deadline:
            raise SystemExit("the vendors did not get everything")
        time.sleep(0.1)


def pages(folder: Path) -> dict[str, int]:
    """Bytes of the database's pages by table; indexes count for their table."""
    with closing(sqlite3.connect(folder / "data" / "tagway.db")) as connection:
        rows = connection.execute(
            "select coalesce(m.tbl_name, s.name), sum(s.pgsize) from dbstat s "
            "left join sqlite_master m on m.name = s.name group by 1"
        )
        return {str(name): int(size) for name, size in rows}


def _kept(before: Mapping[str, int], after: Mapping[str, int], events: int) -> Figures:
    grown = {table: (size - before.get(table, 0)) / events for table, size in after.items()}
    found: Figures = {words: (grown.pop(table, 0.0), "B") for table, words in KEPT.items()}
    return {**found, OTHER: (max(0.0, sum(grown.values())), "B")}


def _written(gateway: Pinned) -> int:
    """Bytes that the process had written to the disk."""
    return int(re.findall(r"^write_bytes: (\d+)", Path(f"/proc/{gateway.pid}/io").read_text(), re.M)[0])


def _commits(metrics: str) -> float:
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        return float(re.findall(r"^tagway_commit_duration_seconds_count (\S+)", answer.read().decode(), re.M)[0])


def table(found: Figures) -> str:
    """Markdown."""
    rows = "".join(
        f"| {name} | {value:,.{0 if value >= 20 else 1}f} {unit}".rstrip() + " |\n" for name, (value, unit) in found.items()
    )
    return f"| per event | measured |\n|---|---|\n{rows}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=8, help="of each rate")
    parser.add_argument("--write", action="store_true", help="put the table into docs/scaling.md")
    parser.add_argument("--sink", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sink:
        uvloop.run(_sink(args.sink))
        return
    made = table(measure(args.events, args.seconds))
    print(made)
    if args.write:
        head, rest = PAGE.read_text().split(f"{START}\n")
        PAGE.write_text(f"{head}{START}\n{made}{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
