"""The arithmetic of docs/scaling.md: from the figures of docs/bench.md and of the page's own table to cores and disks.

cog calls `premises`, `sizes` and `storage`; each gives Markdown. Nothing here is a figure of its own but what a machine is
allowed to be: BUSY and PEAK.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from docs.reference import table
from gateway.config.models import DestinationLimits, Queue
from gateway.receive.listener import MAX_CONNECTIONS, SPARE_DESCRIPTORS

ROOT = Path(__file__).parents[1]
RATES = (10, 100, 1_000, 5_000, 10_000, 50_000, 100_000)
BUSY = 0.6
"""Share of a core that is planned with: the rest is for peaks, retries after an outage, and a node that is away."""
PEAK = 2.0
"""The busiest minute as a multiple of the rate, for the door; deliveries may lag."""
_ROW = re.compile(r"^\| ([^|]+?) \| ([\d.,]+) ?(\S*) \|", re.M)


@dataclass(frozen=True)
class Figures:
    """Microseconds of CPU, bytes and counts of one event; `memory` in MB of one process under load and at rest."""

    ingest: float
    received_apart: float
    whole: float
    append: float
    memory: float
    resting: float
    log: float
    seen: float
    firing: float
    written: float
    received: float
    sent: float
    commits: float
    batches: dict[str, float]

    @property
    def owner(self) -> float:
        """What the process that owns the store does of an event, where receivers decode: it commits and delivers."""
        return self.whole - self.ingest + self.append

    @property
    def door(self) -> float:
        """What a receiver does of it, handing it over included."""
        return self.received_apart - self.append


@dataclass(frozen=True)
class Size:
    """What a rate needs."""

    rate: float
    nodes: int
    receivers: int
    cores: int
    memory: float


def figures(bench: str | None = None, page: str | None = None) -> Figures:
    """The measured figures. Raises KeyError for one that a page does not have."""
    of_bench = rows(bench if bench is not None else (ROOT / "docs" / "bench.md").read_text())
    of_page = rows(page if page is not None else (ROOT / "docs" / "scaling.md").read_text())
    high = max(int(name.split()[-1].removesuffix("/s")) for name in of_page if name.startswith("commits at"))
    asked = {
        name.split()[4]: value
        for name, value in of_page.items()
        if name.startswith("events a request") and name.endswith(f" {high}/s")
    }
    return Figures(
        ingest=of_bench["ingest, one event"],
        received_apart=of_bench["ingest, two receivers"],
        whole=of_bench["end to end, three vendors"],
        append=of_bench["stage store append"],
        memory=of_bench["memory under load"],
        resting=of_bench["memory at rest"],
        log=of_page["kept in the log"] + of_page["kept otherwise"],
        seen=of_page["kept for de-duplication"],
        firing=of_page["kept as the record of requests"],
        written=of_page["written to disk"],
        received=of_page["received"],
        sent=of_page["sent to the three vendors"],
        commits=of_page[f"commits at {high}/s"],
        batches=asked,
    )


def rows(text: str) -> dict[str, float]:
    """First column → number of the second, of every table row that has one."""
    return {found[1]: float(found[2].replace(",", "")) for found in _ROW.finditer(text)}


def size(rate: float, one: Figures) -> Size:
    """Nodes that deliver `rate` to three vendors at BUSY, with receivers for PEAK times as many hits.

    A node of one process does everything on one core; once that is not enough, a node is an owner and its receivers.
    """
    single = BUSY * 1e6 / one.whole
    if rate <= single:
        return Size(rate, 1, 0, 1, one.memory)
    nodes = math.ceil(rate * one.owner / (BUSY * 1e6))
    receivers = max(1, math.ceil(PEAK * rate / nodes * one.door / 1e6))
    return Size(rate, nodes, receivers, nodes * (1 + receivers), one.memory + receivers * one.resting)


def premises() -> str:
    """What one core does, as sentences."""
    one = figures()
    lines = [
        f"- taking a hit, to the synced commit: {one.ingest:.0f} µs, **{_count(1e6 / one.ingest)} a second** and core",
        f"- all of it, delivered to three vendors: {one.whole:.0f} µs, **{_count(1e6 / one.whole)} a second** and core",
        f"- of that, what only the owner of the store can do: {one.owner:.0f} µs, {_count(1e6 / one.owner)} a second; "
        f"what receivers take from it: {one.door:.0f} µs a hit",
    ]
    return "\n".join(lines) + "\n"


def sizes() -> str:
    """The table of rates."""
    one = figures()
    made = []
    for rate in RATES:
        of = size(rate, one)
        per_node = rate / of.nodes
        made.append(
            [
                f"{rate:,}", str(of.nodes), "one process" if not of.receivers else f"owner + {of.receivers}", str(of.cores),
                f"{of.memory:.0f} MB", f"{per_node * one.written / 1e6:.1f} MB/s",
                f"{rate * one.received * 8 / 1e6:,.1f} / {rate * one.sent * 8 / 1e6:,.1f} Mbit/s",
                ", ".join(f"{name} {_count(requests(name, rate, of.nodes, one))}" for name in sorted(one.batches)),
            ]
        )  # fmt: skip
    head = [
        "hits/s",
        "nodes",
        "a node is",
        "cores",
        "memory a node",
        "disk writes a node",
        "network in / out",
        "requests a second",
    ]
    return table(head, made)


def requests(vendor: str, rate: float, nodes: int, one: Figures) -> float:
    """Requests a second to a vendor: what gathers in one wait of a node travels together, if the vendor can batch at all."""
    at_once = one.batches[vendor]
    if at_once < 2:
        return rate
    return min(rate, nodes * 1000 / at_once)


def storage() -> str:
    """The table of what is kept."""
    one, queue = figures(), Queue()
    days, cap = queue.retention.age / 86400, queue.retention.bytes
    made = []
    for rate in RATES:
        nodes = size(rate, one).nodes
        daily = rate / nodes * 86400
        log = daily * one.log
        hours = cap / log * 24 if log * days > cap else days * 24
        held = (
            min(log * days, cap)
            + min(daily * one.firing * queue.firings.age / 86400, queue.firings.bytes)
            + daily * 2 * one.seen
        )
        made.append(
            [
                f"{rate:,}",
                f"{log / 1e9:,.2f} GB",
                f"{min(days * 24, hours):,.0f} h",
                f"{held / 1e9:,.1f} GB",
                f"{log * days / 1e9:,.0f} GB",
            ]
        )
    head = [
        "hits/s",
        "log a day and node",
        "reaches back, by default",
        "on disk then",
        "for all of the 7 days, `retention.bytes`",
    ]
    return table(head, made)


def concurrency() -> str:
    """What `limits.concurrency` has to be where each event is a request, as a sentence."""
    one = figures()
    rate = max(RATES) / size(max(RATES), one).nodes
    default = DestinationLimits().concurrency
    words = f"`limits.concurrency`, {default} by default, times the vendor's round trip is what a lane of a node can do"
    example = f"{default} requests of 100 ms each are {default * 10} a second"
    return f"{words}: {example}. For {_count(rate)} GA4 events a second and node it has to be {_count(rate / 10)}.\n"


def limits() -> str:
    """Connections and descriptors, as a sentence."""
    need = MAX_CONNECTIONS + SPARE_DESCRIPTORS
    words = f"{MAX_CONNECTIONS:,} connections and {SPARE_DESCRIPTORS} descriptors for everything else"
    return f"{words}: `nofile` of {need:,} or more.\n"


def _count(value: float) -> str:
    """Two digits that count."""
    digits = max(0, math.floor(math.log10(max(value, 1))) - 1)
    return f"{round(value, -digits):,.0f}"
