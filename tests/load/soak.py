"""`make soak`: events at a steady rate to three vendors for minutes or hours, one of them down for a while in the middle.

    .venv/bin/python -m tests.load.soak --minutes 30 --rate 200

What it shows, and exits 1 where it does not hold:
- memory, descriptors and the write-ahead log do not grow;
- the vendor that is down is sent at most MOST_REQUESTS requests once its breaker is open;
- its backlog drains at twice the input or faster, while the input goes on;
- every event reached every vendor, counted at the sink, and the books of the store balance.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.queue.audit import audit_readonly
from tests.faults.process import free_port
from tests.load.gateways import LOAD_CORE, SERVER_CORE, Pinned, get_json, load, write_config

VENDORS = ("meta", "ga4", "tiktok")
DEAD = "tiktok"
CONNECTIONS = 16
MOST_REQUESTS = 25
MOST_WAL = 96 << 20
"""Bytes of the file: 16 MB in use make the writer start it anew, but a file never shrinks by itself."""
DRAIN_FACTOR = 2.0
GROWTH_MB = 32.0
"""Resident memory may grow by this between the first third of a run and the last: a lane with a backlog may hold 16 MB
of events and the requests made of them."""
GROWTH_DESCRIPTORS = 12
WARMING = 6000
"""Events sent as fast as they go before the clock starts: the caches of store and memory are full then."""
CAUGHT_UP = 100
"""A lane with fewer events waiting is keeping pace."""
AFTER_SECONDS = 240.0


@dataclass
class Sample:
    """One look: seconds since the start, megabytes, descriptors, bytes of the write-ahead log, the dead vendor's lane."""

    at: float
    rss: float
    descriptors: int
    wal: int
    state: str
    queued: int
    requests: int


@dataclass
class Soak:
    """A run and what was seen in it."""

    gateway: Pinned
    sink: str
    admin: str
    store: Path
    samples: list[Sample] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def look(self) -> Sample:
        """Take a sample."""
        lane = next(one for one in get_json(f"{self.admin}/lanes")["lanes"] if one["destination"] == DEAD)
        wal = self.store / "tagway.db-wal"
        sample = Sample(
            at=time.monotonic() - self.started,
            rss=self.gateway.rss_mb(),
            descriptors=len(list(Path(f"/proc/{self.gateway.pid}/fd").iterdir())),
            wal=wal.stat().st_size if wal.exists() else 0,
            state=lane["state"],
            queued=lane["queued"],
            requests=get_json(f"{self.sink}/count").get(f"requests {DEAD}", 0),
        )
        self.samples.append(sample)
        return sample

    def watch(self, until: float) -> None:
        """Sample once a second until a moment of the run."""
        while (left := self.started + until - time.monotonic()) > 0:
            self.look()
            time.sleep(min(1.0, max(0.0, left)))

    def tell(self, word: str) -> None:
        """Take the vendor down, or up."""
        urllib.request.urlopen(f"{self.sink}/{word}?{DEAD}", timeout=10).close()


@dataclass
class Outcome:
    """What a run showed; `problems` are sentences, empty when all holds."""

    facts: dict[str, Any]
    problems: list[str]


def soak(seconds: float, outage: float, rate: float) -> Outcome:
    """Run for `seconds` with an outage of `outage` seconds in the middle, then until everything has arrived."""
    with tempfile.TemporaryDirectory(prefix="tagway-soak-") as folder:
        sink_port, public = free_port(), free_port()
        config = write_config(Path(folder), sink_port, VENDORS, public)
        sink = Pinned(LOAD_CORE, "tests.load.sink", str(sink_port))
        gateway = Pinned(SERVER_CORE, "gateway", "serve", "-c", str(config), "--drain", "0")
        try:
            sink.wait(f"http://127.0.0.1:{sink_port}/count")
            gateway.wait(f"http://127.0.0.1:{public}/readyz")
            admin = config.read_text().split("admin:\n  listen: ")[1].split("\n")[0]
            run = Soak(gateway, f"http://127.0.0.1:{sink_port}", f"http://{admin}", Path(folder) / "data")
            return _run(run, f"http://127.0.0.1:{public}/v1/events", seconds, outage, rate)
        finally:
            gateway.end()
            sink.end()


def _run(run: Soak, url: str, seconds: float, outage: float, rate: float) -> Outcome:
    load(url, WARMING, CONNECTIONS)
    _until_idle(run)
    run.samples.clear()
    run.started = time.monotonic()
    count = int(seconds * rate)
    report: dict[str, Any] = {}
    driver = threading.Thread(target=lambda: report.update(load(url, count, CONNECTIONS, rate=rate)), name="soak-load")
    driver.start()
    down = (seconds - outage) / 2
    run.watch(down)
    run.tell("down")
    run.watch(down + outage)
    run.tell("up")
    up_at = run.look().at
    run.watch(seconds)
    driver.join()
    _until_idle(run)
    counts = get_json(f"{run.sink}/count")
    books = audit_readonly(run.store / "tagway.db")
    facts = {
        "events": WARMING + count,
        "answered p99 ms": report.get("p99_ms"),
        "arrived": {vendor: counts.get(vendor, 0) for vendor in VENDORS},
        "requests to the dead vendor after its breaker opened": requests_while_open(run.samples, up_at),
        "drained, events a second": round(drain_rate(run.samples, up_at, rate, seconds), 1),
        "memory MB, first and last third": spread(run.samples, "rss"),
        "descriptors, first and last third": spread(run.samples, "descriptors"),
        "largest write-ahead log, bytes": max(sample.wal for sample in run.samples),
        "books balance": books.balanced,
    }
    return Outcome(facts, problems(facts, report, rate))


def _until_idle(run: Soak) -> None:
    deadline = time.monotonic() + AFTER_SECONDS
    while time.monotonic() < deadline:
        run.look()
        if all(lane["queued"] == 0 for lane in get_json(f"{run.admin}/lanes")["lanes"]):
            return
        time.sleep(0.5)


def requests_while_open(samples: list[Sample], up_at: float) -> int:
    """Requests that the dead vendor got between the first look at an open breaker and its return."""
    seen = [sample.requests for sample in samples if sample.state == "open" and sample.at <= up_at]
    return seen[-1] - seen[0] if seen else -1


def drain_rate(samples: list[Sample], up_at: float, rate: float, seconds: float) -> float:
    """Events a second that the lane worked off from its fullest until it kept pace again.

    What came in meanwhile is included: `rate` a second until `seconds`, when the load ends.
    """
    after = [sample for sample in samples if sample.at >= up_at]
    fullest = max(after, key=lambda sample: (sample.queued, sample.at))
    end = next((sample for sample in after if sample.at > fullest.at and sample.queued < CAUGHT_UP), None)
    if end is None:
        return 0.0
    came = rate * max(0.0, min(end.at, seconds) - fullest.at)
    return (fullest.queued - end.queued + came) / (end.at - fullest.at)


def spread(samples: list[Sample], what: str) -> tuple[float, float]:
    """The largest value of the first third of a run and of the last."""
    third = max(1, len(samples) // 3)
    values = [float(getattr(sample, what)) for sample in samples]
    return round(max(values[:third]), 1), round(max(values[-third:]), 1)


def problems(facts: dict[str, Any], report: dict[str, Any], rate: float) -> list[str]:
    """What does not hold."""
    rss, descriptors = facts["memory MB, first and last third"], facts["descriptors, first and last third"]
    begun = facts["requests to the dead vendor after its breaker opened"]
    checks = {
        "not every hit was answered with 200": report.get("answers", {}).keys() == {"200"},
        "the sink did not count what was sent": all(n == facts["events"] for n in facts["arrived"].values()),
        "the books do not balance": facts["books balance"],
        "memory grew": rss[1] - rss[0] <= GROWTH_MB,
        "descriptors grew": descriptors[1] - descriptors[0] <= GROWTH_DESCRIPTORS,
        "the write-ahead log grew": facts["largest write-ahead log, bytes"] <= MOST_WAL,
        "the breaker never opened": begun >= 0,
        "the dead vendor was not left alone": begun <= MOST_REQUESTS,
        "the backlog drained slowly": facts["drained, events a second"] >= DRAIN_FACTOR * rate,
    }
    return [words for words, holds in checks.items() if not holds]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=200, help="events a second")
    args = parser.parse_args()
    seconds = args.minutes * 60
    outcome = soak(seconds, outage=seconds / 3, rate=args.rate)
    for name, value in outcome.facts.items():
        print(f"{name}: {value}")
    for problem in outcome.problems:
        print(f"PROBLEM: {problem}")
    sys.exit(1 if outcome.problems else 0)


if __name__ == "__main__":
    main()
