"""`make bench`: CPU microseconds per event as ratios of one run, beside the last table of docs/bench.md (`--write` renews it).

Servers stand on core 0, load and sink on core 1; cases are interleaved and a figure is the median of the rounds. The run fails
unless every answer was 2xx and the sink counted exactly what was sent. `--ids` fills the stores first, as the cost of
de-duplication depends on how many ids are remembered. `--peers` runs other programs beside ours (tests/load/peers),
`--only-peers` nothing but them, ours end to end and the bare server.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway import __version__
from tests.faults.process import free_port
from tests.load.count import VENDORS, settle
from tests.load.gateways import LOAD_CORE, SERVER_CORE, Pinned, browser, get_json, load, write_config
from tests.load.peers import page
from tests.load.peers.programs import Peer, available, node_version
from tests.load.prefill import prefill
from tests.load.report import Figure, last_figures, plot, rewrite, table, verdicts
from tests.load.stages import all_stages, mappings

LATENCY_RUNS, LATENCY_SECONDS = 3, 3
FLOOR_MS = 5.0
"""Where the bare server's own p99 is above this, latencies tell of the machine's other work and are held to no bar."""
PEER_WARM = 3000
"""Requests before the first round of a peer: V8 compiles what is called often while it runs."""
_BY_ACK = {"durable": "ingest, one event", "written": "ingest, ack written"}


@dataclass
class Case:
    """One server under one load; `share` of the requests of a round are sent to it, and `warm` at least before the first.

    `headers` stand on each request.
    """

    name: str
    server: Pinned
    url: str
    batch: int = 1
    share: float = 1.0
    warm: int = 0
    headers: Sequence[str] = ()
    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    admin: str = ""
    sink: str = ""

    def round(self, requests: int, connections: int) -> None:
        """Its share of a round."""
        self.run(max(connections, int(requests * self.share)), connections)

    def run(self, count: int, connections: int) -> None:
        """Send `count` requests, note what they cost."""
        before, counted = self.server.cpu(), self._counted()
        report = load(self.url, count, connections, self.batch, headers=self.headers)
        events = count * self.batch
        if self.sink:
            settle(self.name, self._counted, counted, events, self._idle)
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

    def _idle(self) -> bool:
        return not self.admin or all(lane["queued"] == 0 for lane in get_json(f"{self.admin}/lanes")["lanes"])


class Bench:
    """All servers of a run, and what they cost."""

    def __init__(self, folder: Path, ids: int, peers: Sequence[tuple[Peer, Path]] = (), alone: bool = False) -> None:
        """`alone`: only what stands in the peers' table."""
        self._folder = folder
        self._filled = folder / "filled"
        if ids:
            prefill(self._filled, ids)
        self.servers: list[Pinned] = []
        self._sink_port = free_port()
        self._sink_url = f"http://127.0.0.1:{self._sink_port}/count"
        self._started(LOAD_CORE, self._sink_url, "tests.load.sink", self._sink_port)
        self.cases = self._baselines() + ([] if alone else self._ingest()) + self._whole()
        self.peers = [self._peer(peer, modules) for peer, modules in peers]

    def end(self) -> None:
        """Stop every server."""
        for server in self.servers:
            server.end()

    def measure(self, requests: int, rounds: int, connections: int) -> tuple[dict[str, Figure], dict[str, Figure]]:
        """Warm up and run the rounds: the figures of ours by name, and those of the peers' table."""
        time.sleep(1)
        self._rest = {case.name: case.server.rss_mb() for case in self.cases}
        everyone = [*self.cases, *self.peers]
        for case in everyone:
            case.run(max(int(max(connections * 4, requests // 10) * case.share), connections, case.warm), connections)
            case.forget()
        for _ in range(rounds):
            for case in everyone:
                case.round(requests, connections)
        base = statistics.median(self.cases[0].cpu)
        found = {case.name: Figure(statistics.median(case.cpu), "µs", base, case.words()) for case in everyone}
        beside = [self.cases[0].name, *(case.name for case in everyone if case.sink)]
        own = {case.name: found[case.name] for case in self.cases}
        return own, {name: found[name] for name in beside} if self.peers else {}

    def more(self, connections: int) -> dict[str, Figure]:
        """Latencies, and memory before and after the rounds."""
        found = self._latencies(connections)
        found["memory at rest"] = Figure(self._rest["ingest, one event"], "MB")
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

    def _baselines(self) -> list[Case]:
        base = f"http://127.0.0.1:{(port := free_port())}"
        bare = self._started(SERVER_CORE, f"{base}/204", "tests.load.bare", port)
        return [Case("bare aiohttp 204", bare, f"{base}/204"), Case("bare aiohttp parse", bare, f"{base}/parse")]

    def _ingest(self) -> list[Case]:
        ingest, ingest_url, _ = self.gateway("ingest")
        written, written_url, _ = self.gateway("written", ack="written")
        several, several_url, _ = self.gateway("several", workers=2)
        return [
            Case("ingest, one event", ingest, ingest_url),
            Case("ingest, batch of 50", ingest, ingest_url, batch=50, share=0.05),
            Case("ingest, a browser's hit", ingest, ingest_url, headers=browser()),
            Case("ingest, ack written", written, written_url, share=0.5),
            Case("ingest, two receivers", several, several_url),
        ]

    def _whole(self) -> list[Case]:
        whole, whole_url, admin = self.gateway("whole", VENDORS)
        through, through_url, through_admin = self.gateway("through", VENDORS, transport="aiohttp")
        return [
            Case(page.OURS, whole, whole_url, share=0.5, admin=admin, sink=self._sink_url),
            Case("end to end, aiohttp out", through, through_url, share=0.5, admin=through_admin, sink=self._sink_url),
        ]

    def _peer(self, peer: Peer, modules: Path) -> Case:
        port = free_port()
        server = peer.start(modules, port, self._sink_port)
        self.servers.append(server)
        server.wait(url := f"http://127.0.0.1:{port}/")
        return Case(peer.row, server, url, share=peer.share, warm=PEER_WARM, sink=self._sink_url)

    def gateway(
        self, name: str, vendors: tuple[str, ...] = (), ack: str = "durable", transport: str = "direct", workers: int = 0
    ) -> tuple[Pinned, str, str]:
        """A gateway over a store of its own: (process, URL for events, base of its admin listener)."""
        folder, public = self._folder / name, free_port()
        config = write_config(folder, self._sink_port, vendors, public, ack, transport, workers)
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


@dataclass(frozen=True)
class Found:
    """A run: figures of ours, of the peers' table (none without peers), of mapping alone in µs; the conditions in words."""

    own: dict[str, Figure]
    peers: dict[str, Figure]
    mapping: dict[str, float]
    words: str


def figures(args: argparse.Namespace) -> Found:
    """Run all that was asked for; prints which peers are left out, and why."""
    peers, lines = available() if args.peers or args.only_peers else ([], [])
    print("\n".join(lines))
    with tempfile.TemporaryDirectory(prefix="tagway-bench-") as folder:
        bench = Bench(Path(folder), args.ids, peers, args.only_peers)
        try:
            own, beside = bench.measure(args.requests, args.rounds, args.connections)
            if not args.only_peers:
                own |= bench.more(args.connections)
        finally:
            bench.end()
        stages = mappings(Path(folder) / "config") if args.only_peers else all_stages()
    if not args.only_peers:
        own |= {f"stage {name}": Figure(value, "µs") for name, value in stages.items()}
    mapping = {peer.row: peer.mapping(modules) for peer, modules in peers}
    mapping[page.OURS] = sum(value for name, value in stages.items() if name.startswith(("mapping ", "request ")))
    words = (
        f"{args.connections} connections, {args.rounds} interleaved rounds of {args.requests:,} requests, {args.ids:,} ids "
        f"stored before; Python {platform.python_version()}, {platform.machine()}, Tagway {__version__}, "
        f"{time.strftime('%Y-%m-%d')}"
    )
    return Found(own, beside, mapping, words)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--ids", type=int, default=1_000_000, help="ids remembered before the first request")
    parser.add_argument("--peers", action="store_true", help="other programs too, where node and npm are installed")
    parser.add_argument("--only-peers", action="store_true", help="only them, beside the bare server and ours")
    parser.add_argument("--write", action="store_true", help="write the tables and the plot into docs/")
    return parser


def main() -> None:
    """Run, print, write."""
    args = parser().parse_args()
    found = figures(args)
    last = last_figures()
    print(f"{found.words}\n\n{table(found.own, last)}\n")
    for line in verdicts(found.own, last):
        print(line)
    if found.peers:
        print(f"\n{page.table(found.peers, found.mapping)}")
    if args.write:
        write(found, whole=not args.only_peers)


def write(found: Found, whole: bool) -> None:
    """Renew docs/: the table of ours when all of it was measured, that of the peers when there were any, and the picture."""
    if whole:
        rewrite(found.own, found.words)
    if found.peers:
        page.rewrite(found.peers, found.mapping, f"{found.words}, Node {node_version()}")
    plot(*page.shown())


if __name__ == "__main__":
    main()
