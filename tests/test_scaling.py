"""docs/scaling.md: its arithmetic is right, its figures are measured ones, and what it says of overload is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import sizing
from gateway.errors import RefusedReason
from gateway.observe.metrics import FAMILIES
from gateway.outcomes import REASONS, Outcome
from gateway.queue.writer import WAITING_BYTES
from gateway.receive import listener
from tests.load import footprint

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text()
BENCH = """| what | measured | x |
|---|---|---|
| ingest, one event | 100.0 µs | 3 |
| ingest, two receivers | 112.0 µs | 4 |
| end to end, three vendors | 400.0 µs | 9 |
| stage store append | 20.0 µs | |
| memory under load | 100.0 MB | |
| memory at rest | 60.0 MB | |
"""
TABLE = footprint.table(
    {
        "kept in the log": (1000, "B"), "kept for de-duplication": (100, "B"), "kept as the record of requests": (200, "B"),
        "kept otherwise": (0, "B"), "written to disk": (5000, "B"), "received": (1000, "B"),
        "sent to the three vendors": (3000, "B"),
        "commits at 200/s": (90, "/s"), "events a request to meta at 200/s": (40, ""), "commits at 1000/s": (100, "/s"),
        "events a request to meta at 1000/s": (200, ""), "events a request to ga4 at 1000/s": (1, ""),
    }
)  # fmt: skip
ONE = sizing.figures(BENCH, TABLE)


def test_figures_are_read_from_both_tables() -> None:
    assert (ONE.ingest, ONE.whole, ONE.log, ONE.commits) == (100, 400, 1000, 100)
    assert ONE.batches == {"meta": 200, "ga4": 1}
    assert ONE.owner == 320
    assert ONE.door == pytest.approx(92)
    with pytest.raises(KeyError):
        sizing.figures(BENCH.replace("ingest", "digest"), TABLE)


@pytest.mark.parametrize(
    ("rate", "nodes", "receivers", "cores"),
    [
        (1500, 1, 0, 1),  # 0.6 of a second at 400 µs
        (1501, 1, 1, 2),  # the owner's 320 µs allow 1875
        (1876, 2, 1, 4),
        (100_000, 54, 1, 108),
    ],
)
def test_a_rate_needs_so_many_nodes(rate: float, nodes: int, receivers: int, cores: int) -> None:
    of = sizing.size(rate, ONE)
    assert (of.nodes, of.receivers, of.cores) == (nodes, receivers, cores)
    assert of.memory == 100 + 60 * receivers


def test_no_core_is_planned_fuller_than_said() -> None:
    for rate in (*sizing.RATES, 333, 1_499, 77_777):
        of = sizing.size(rate, ONE)
        each = rate / of.nodes / 1e6
        if of.receivers:
            assert each * ONE.owner <= sizing.BUSY
            assert sizing.PEAK * each * ONE.door / of.receivers <= 1
        else:
            assert each * ONE.whole <= sizing.BUSY


@pytest.mark.parametrize(
    ("vendor", "rate", "nodes", "expected"), [("ga4", 5000, 3, 5000), ("meta", 5000, 3, 15), ("meta", 2, 1, 2)]
)
def test_requests_are_as_many_as_batches(vendor: str, rate: float, nodes: int, expected: float) -> None:
    assert sizing.requests(vendor, rate, nodes, ONE) == expected


def test_the_page_reaches_a_hundred_thousand_hits_a_second() -> None:
    assert max(sizing.RATES) == 100_000
    assert len(re.findall(r"^\| 100,000 \|", PAGE, re.M)) == 2


def test_what_is_shed_is_counted_by_metrics_that_exist() -> None:
    rows = re.findall(r"^\| \d \| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.M)
    assert len(rows) == 7
    for _, _, counted in rows:
        for name, labels in re.findall(r"`(tagway_\w+)(?:\{([^}]*)\})?`", counted):
            given = dict(re.findall(r'(\w+)="(\w+)"', labels))
            assert set(given) <= set(FAMILIES[name].labels)
            if name == "tagway_refused_total":
                assert given["reason"] in RefusedReason.__members__.values()
            if name == "tagway_outcomes_total":
                assert given["reason"] in REASONS[Outcome(given["outcome"])]
    assert f"{listener.MAX_CONNECTIONS:,} connections" in PAGE
    assert f"over {listener.MAX_PER_ADDRESS} of one public address" in PAGE.replace("or over", "over")
    assert f"{WAITING_BYTES >> 20} MB of others wait" in PAGE
    assert f"less than {listener.PROXY_IDLE_SECONDS:.0f} seconds" in PAGE


@pytest.mark.slow
def test_an_event_takes_on_disk_what_the_page_says() -> None:
    """A small run: bytes kept and sent hardly depend on the size of the run, those written do, and times are not looked at."""
    found = footprint.measure(events=3000, seconds=1)
    told = sizing.rows(PAGE)
    assert found.keys() == {name for name in told if name in found}
    for name in ("kept in the log", "sent to the three vendors", "received"):
        assert found[name][0] == pytest.approx(told[name], rel=0.15), name
    assert found["kept for de-duplication"][0] == pytest.approx(told["kept for de-duplication"], rel=0.5)
    assert found["events a request to ga4 at 1000/s"][0] == pytest.approx(1, abs=0.2)
