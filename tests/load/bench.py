"""`make bench`: CPU microseconds per event as ratios of one run, written to docs/bench.md beside the last table.

The server stands on core 0, load and sink on core 1; cases are interleaved, the figure is the median of the rounds. The run
fails unless every answer was 2xx and the sink counted exactly what was sent.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway import __version__
from tests.faults.process import ROOT, free_port
from tests.load.gateways import LOAD_CORE, SERVER_CORE, Pinned, get_json, load, write_config
from tests.load.stages import all_stages

PAGE = ROOT / "docs" / "bench.md"
VENDORS = ("meta", "ga4", "tiktok")
START, END = "<!-- figures -->", "<!-- end of figures -->"


@dataclass
class Case:
    """One server under one load."""

    name: str
    server: Pinned
    url: str
    batch: int = 1
    share: float = 1.0
    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    admin: str = ""
    sink: str = ""

    def run(self, requests: int, connections: int) -> None:
        """One round."""
        count = max(connections, int(requests * self.share))
        before, counted = self.server.cpu(), self._counted()
        report = load(self.url, count, connections, self.batch)
        events = count * self.batch
        if self.sink:
            self._settle(counted, events)
        self.cpu.append((self.server.cpu() - before) / events * 1e6)
        self.rate.append(events / report["seconds"])
        self.p99.append(report["p99_ms"])

    def words(self) -> str:
        """Rate, tail and spread of the rounds."""
        rate, p99 = statistics.median(self.rate), statistics.median(self.p99)
        return f"{rate:,.0f}/s; p99 {p99:.0f} ms; spread {min(self.cpu):.0f}-{max(self.cpu):.0f}"

    def _counted(self) -> dict[str, int]:
        return get_json(self.sink) if self.sink else {}

    def _settle(self, before: dict[str, int], events: int) -> None:
        """Wait until the sink has everything; fail when it is not exactly what was sent."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            now = self._counted()
            got = {vendor: now.get(vendor, 0) - before.get(vendor, 0) for vendor in VENDORS}
            idle = all(lane["queued"] == 0 for lane in get_json(f"{self.admin}/lanes")["lanes"])
            if idle and all(n >= events for n in got.values()):
                break
            time.sleep(0.1)
        if any(n != events for n in got.values()):
            raise SystemExit(f"{self.name}: {events} sent, the sink counted {got}")


def cases(folder: Path) -> list[Case]:
    """Every server, ready."""
    bare_port, sink_port = free_port(), free_port()
    bare, sink = Pinned(SERVER_CORE, "tests.load.bare", str(bare_port)), Pinned(LOAD_CORE, "tests.load.sink", str(sink_port))
    bare.wait(f"http://127.0.0.1:{bare_port}/204")
    sink.wait(f"http://127.0.0.1:{sink_port}/count")
    ingest, ingest_url, _ = _gateway(folder / "ingest", sink_port, ())
    whole, whole_url, admin = _gateway(folder / "whole", sink_port, VENDORS)
    base = f"http://127.0.0.1:{bare_port}"
    return [
        Case("bare aiohttp 204", bare, f"{base}/204"),
        Case("bare aiohttp parse", bare, f"{base}/parse"),
        Case("ingest, one event", ingest, ingest_url),
        Case("ingest, batch of 50", ingest, ingest_url, batch=50, share=0.05),
        Case("end to end, 3 vendors", whole, whole_url, share=0.5, admin=admin, sink=f"http://127.0.0.1:{sink_port}/count"),
    ]


def _gateway(folder: Path, sink: int, vendors: tuple[str, ...]) -> tuple[Pinned, str, str]:
    public = free_port()
    config = write_config(folder, sink, vendors, public)
    server = Pinned(SERVER_CORE, "gateway", "serve", "-c", str(config), "--drain", "0")
    server.wait(f"http://127.0.0.1:{public}/readyz")
    admin = next(line.split("listen: ")[1] for line in config.read_text().split("admin:")[1].splitlines() if "listen" in line)
    return server, f"http://127.0.0.1:{public}/v1/events", f"http://{admin}"


def figures(requests: int, rounds: int, connections: int) -> tuple[dict[str, tuple[float, str]], str]:
    """name → (figure, unit), and the conditions in words."""
    stages = all_stages()
    with tempfile.TemporaryDirectory(prefix="tagway-bench-") as folder:
        running = cases(Path(folder))
        try:
            time.sleep(1)
            rss = running[2].server.rss_mb()
            for case in running:
                case.run(max(connections * 4, requests // 10), connections)
                case.cpu.clear(), case.rate.clear(), case.p99.clear()
            for _ in range(rounds):
                for case in running:
                    case.run(requests, connections)
        finally:
            for case in running:
                case.server.end()
    found: dict[str, tuple[float, str]] = {}
    base = statistics.median(running[0].cpu)
    for case in running:
        cpu = statistics.median(case.cpu)
        found[case.name] = (cpu, f"µs ({cpu / base:.1f} x of bare 204; {case.words()})")
    found |= {name: (value, "µs") for name, value in stages.items()}
    found["rss at rest"] = (rss, "MB")
    stored = int(requests * rounds * (1 + 0.05 * 50))
    words = (
        f"{connections} connections, {rounds} interleaved rounds of {requests:,} requests, up to {stored:,} ids stored; "
        f"Python {platform.python_version()}, {platform.machine()}, Tagway {__version__}, {time.strftime('%Y-%m-%d')}"
    )
    return found, words


def table(found: dict[str, tuple[float, str]], last: dict[str, float]) -> str:
    """Markdown, with the last run's figure and the change beside each."""
    lines = ["| what | CPU per event | last | change |", "|---|---|---|---|"]
    for name, (value, unit) in found.items():
        old = last.get(name)
        change = f"{(value / old - 1) * 100:+.0f} %" if old else ""
        lines.append(f"| {name} | {value:.1f} {unit} | {f'{old:.1f}' if old else ''} | {change} |")
    return "\n".join(lines)


def last_figures() -> dict[str, float]:
    """The figures that docs/bench.md holds now."""
    if not PAGE.exists():
        return {}
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ") and "CPU per event" not in line]
    return {row[1].strip(): float(row[2].split()[0]) for row in rows if row[2].split() and _number(row[2].split()[0])}


def _number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--write", action="store_true", help="Write the table into docs/bench.md.")
    args = parser.parse_args()
    found, words = figures(args.requests, args.rounds, args.connections)
    text = f"{words}\n\n{table(found, last_figures())}"
    print(text)
    if args.write:
        before, _, rest = PAGE.read_text().partition(START)
        PAGE.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}")
    sys.exit(0)


if __name__ == "__main__":
    main()
