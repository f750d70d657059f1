"""`make bench`: CPU microseconds per event as ratios of one run, beside the last table of docs/bench.md (`--write` renews it).

Servers stand on core 0, load and sink on core 1; cases are interleaved and a figure is the median of the rounds. The run fails
unless every answer was 2xx and the sink counted exactly what was sent. `--ids` fills the stores first, as the cost of
de-duplication depends on how many ids are remembered.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway import __version__
from tests.faults.process import free_port
from tests.load.gateways import LOAD_CORE, SERVER_CORE, Pinned, get_json, load, write_config
from tests.load.prefill import prefill
from tests.load.report import Figure, last_figures, plot, rewrite, table, verdicts
from tests.load.stages import all_stages

VENDORS = ("meta", "ga4", "tiktok")
DRAIN_SECONDS = 120
LATENCY_RUNS, LATENCY_SECONDS = 3, 3
FLOOR_MS = 5.0
"""Where the bare server's own p99 is above this, latencies tell of the machine's other work and are held to no bar."""
_BY_ACK = {"durable": "ingest, one event", "written": "ingest, ack written"}


@dataclass
class Case:
    """One server under one load; `share` of the requests of a round are sent to it."""

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

    def forget(self) -> None:
        """Leave the warming round out."""
        self.cpu.clear()
        self.rate.clear()
        self.p99.clear()

    def words(self) -> str:
        """Rate, tail and spread of the rounds."""
        rate, p99 = statistics.median(self.rate), statistics.median(self.p99)
        return f"{rate:,.0f}/s, p99 {p99:.0f} ms, {min(self.cpu):.0f}–{max(self.cpu):.0f}"

    def _counted(self) -> dict[str, int]:
        return get_json(self.sink) if self.sink else {}

    def _settle(self, before: dict[str, int], events: int) -> None:
        """Wait until the sink has everything; fail when it is not exactly what was sent."""
        deadline = time.monotonic() + DRAIN_SECONDS
        got: dict[str, int] = {}
        while time.monotonic() < deadline:
            now = self._counted()
            got = {vendor: now.get(vendor, 0) - before.get(vendor, 0) for vendor in VENDORS}
            idle = all(lane["queued"] == 0 for lane in get_json(f"{self.admin}/lanes")["lanes"])
            if idle and all(n >= events for n in got.values()):
                break
            time.sleep(0.1)
        if any(n != events for n in got.values()):
            raise SystemExit(f"{self.name}: {events} sent, the sink counted {got}")


class Bench:
    """All servers of a run, and what they cost."""

    def __init__(self, folder: Path, ids: int) -> None:
        self._folder = folder
        self._filled = folder / "filled"
        if ids:
            prefill(self._filled, ids)
        self.servers: list[Pinned] = []
        self._sink_port = free_port()
        self._sink = self._started(LOAD_CORE, f"http://127.0.0.1:{self._sink_port}/count", "tests.load.sink", self._sink_port)
        self.cases = self._cases()

    def end(self) -> None:
        """Stop every server."""
        for server in self.servers:
            server.end()

    def measure(self, requests: int, rounds: int, connections: int) -> dict[str, Figure]:
        """Warm up, run the rounds, then the open loop; figures by name."""
        time.sleep(1)
        rest = self._named("ingest, one event").server.rss_mb()
        for case in self.cases:
            case.run(max(connections * 4, requests // 10), connections)
            case.forget()
        for _ in range(rounds):
            for case in self.cases:
                case.run(requests, connections)
        base = statistics.median(self.cases[0].cpu)
        found = {case.name: Figure(statistics.median(case.cpu), "µs", base, case.words()) for case in self.cases}
        found |= self._latencies(connections)
        found["memory at rest"] = Figure(rest, "MB")
        peak = max(case.server.peak_rss_mb() for case in self.cases if not case.name.startswith("bare"))
        found["memory under load"] = Figure(peak, "MB")
        return found

    def _latencies(self, connections: int) -> dict[str, Figure]:
        """Open loop at half of what the closed loop reached; the bare server at the same rate is the floor of the machine."""
        rate = min(statistics.median(self._named(name).rate) for name in _BY_ACK.values()) / 2
        floor = self._latency(self.cases[0].url, rate, connections)
        busy = "" if floor.value <= FLOOR_MS else " (busy machine)"
        found = {"latency p99, bare 204": floor}
        for ack, name in _BY_ACK.items():
            found[f"latency p99, {ack}{busy}"] = self._latency(self._named(name).url, rate, connections)
        return found

    def _latency(self, url: str, rate: float, connections: int) -> Figure:
        """The best of several short runs: what else runs on the machine only ever adds."""
        reports = [load(url, int(rate * LATENCY_SECONDS), connections, rate=rate) for _ in range(LATENCY_RUNS)]
        best = min(reports, key=lambda report: float(report["p99_ms"]))
        return Figure(best["p99_ms"], "ms", words=f"p50 {best['p50_ms']} ms, p99.9 {best['p999_ms']} ms, {rate:,.0f}/s")

    def _named(self, name: str) -> Case:
        return next(case for case in self.cases if case.name == name)

    def _cases(self) -> list[Case]:
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        bare = self._started(SERVER_CORE, f"{base}/204", "tests.load.bare", port)
        ingest, ingest_url, _ = self.gateway("ingest")
        written, written_url, _ = self.gateway("written", ack="written")
        whole, whole_url, admin = self.gateway("whole", VENDORS)
        through, through_url, through_admin = self.gateway("through", VENDORS, transport="aiohttp")
        sink = f"http://127.0.0.1:{self._sink_port}/count"
        return [
            Case("bare aiohttp 204", bare, f"{base}/204"),
            Case("bare aiohttp parse", bare, f"{base}/parse"),
            Case("ingest, one event", ingest, ingest_url),
            Case("ingest, batch of 50", ingest, ingest_url, batch=50, share=0.05),
            Case("ingest, ack written", written, written_url, share=0.5),
            Case("end to end, three vendors", whole, whole_url, share=0.5, admin=admin, sink=sink),
            Case("end to end, aiohttp out", through, through_url, share=0.5, admin=through_admin, sink=sink),
        ]

    def gateway(
        self, name: str, vendors: tuple[str, ...] = (), ack: str = "durable", transport: str = "direct"
    ) -> tuple[Pinned, str, str]:
        """A gateway over a store of its own: (process, URL for events, base of its admin listener)."""
        folder, public = self._folder / name, free_port()
        config = write_config(folder, self._sink_port, vendors, public, ack, transport)
        if self._filled.exists():
            shutil.copytree(self._filled, folder / "data")
        base = f"http://127.0.0.1:{public}"
        server = self._started(SERVER_CORE, f"{base}/readyz", "gateway", "serve", "-c", config, "--drain", "0")
        admin = next(
            line.split("listen: ")[1] for line in config.read_text().split("admin:")[1].splitlines() if "listen" in line
        )
        return server, f"{base}/v1/events", f"http://{admin}"

    def _started(self, core: int, url: str, *arguments: object) -> Pinned:
        server = Pinned(core, *map(str, arguments))
        self.servers.append(server)
        server.wait(url)
        return server


def figures(requests: int, rounds: int, connections: int, ids: int) -> tuple[dict[str, Figure], str]:
    """Every figure by name, and the conditions in words."""
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="tagway-bench-") as folder:
        bench = Bench(Path(folder), ids)
        try:
            found |= bench.measure(requests, rounds, connections)
        finally:
            bench.end()
    found |= {f"stage {name}": Figure(value, "µs") for name, value in all_stages().items()}
    words = (
        f"{connections} connections, {rounds} interleaved rounds of {requests:,} requests, {ids:,} ids stored before; "
        f"Python {platform.python_version()}, {platform.machine()}, Tagway {__version__}, {time.strftime('%Y-%m-%d')}"
    )
    return found, words


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--ids", type=int, default=1_000_000, help="ids remembered before the first request")
    parser.add_argument("--write", action="store_true", help="write the tables and the plot into docs/")
    args = parser.parse_args()
    found, words = figures(args.requests, args.rounds, args.connections, args.ids)
    last = last_figures()
    print(f"{words}\n\n{table(found, last)}\n")
    for line in verdicts(found, last):
        print(line)
    if args.write:
        rewrite(found, words)
        plot(found)


if __name__ == "__main__":
    main()
