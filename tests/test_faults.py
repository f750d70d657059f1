"""Gateways under faults: the bars of reliability at the size of `make test`, and the harness that measures them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.deliver import retry
from gateway.deliver.direct import DirectTransport
from gateway.plans import Ready
from gateway.queue.base import Audit, LaneCount, SourceCount
from tests.faults import run
from tests.faults.books import disagreements
from tests.faults.inject import Names, SteppingClock, certificate, mood, stepped
from tests.faults.measured import Measured
from tests.faults.oracle import Oracle, Vendors, until
from tests.gateway_kit import Running, running
from tests.vendor import Play, Vendor

BARS = {bar.measure.__name__: bar.measure for bar in run.BARS if bar.measure}
ELSEWHERE = {"kills"}
"""Measured by tests/test_promises.py."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(BARS.keys() - ELSEWHERE))
async def test_a_bar_is_held(tmp_path: Path, name: str) -> None:
    found = await BARS[name](tmp_path)
    print(found.figure)
    assert found.problems == []


def test_every_bar_has_a_number_and_something_that_measures_it() -> None:
    assert [bar.number for bar in run.BARS] == list(range(1, len(run.BARS) + 1))
    assert all(bar.measure or bar.tests for bar in run.BARS)
    files = {test.partition("::")[0] for bar in run.BARS for test in bar.tests}
    assert all((run.ROOT / file).is_file() for file in files)


def test_a_bar_that_is_missed_says_by_how_much() -> None:
    found = Measured("slow").held_to(("s", 1.5, 1.0), ("MB", 1, 2))
    assert found.problems == ["s 1.5 is over 1 by 0.5"]


# one fault each, under the same story: hits before, during and after it


SECONDS_OF_FAULT = 1.0
Faults = Callable[[Vendors, SteppingClock, Names], contextlib.AbstractContextManager[None]]

FAULTS: dict[str, Faults] = {
    "answers 500": lambda vendors, _clock, _names: mood(vendors, "one", Play(500)),
    "answers 429": lambda vendors, _clock, _names: mood(vendors, "one", Play(429, headers={"Retry-After": "1"})),
    "hangs": lambda vendors, _clock, _names: mood(vendors, "one", Play(fault="hang")),
    "resets": lambda vendors, _clock, _names: mood(vendors, "one", Play(fault="reset")),
    "cuts its answers": lambda vendors, _clock, _names: mood(vendors, "one", Play(500, b"x" * 9, fault="cut")),
    "never ends an answer": lambda vendors, _clock, _names: mood(vendors, "one", Play(500, fault="drip")),
    "sends without end": lambda vendors, _clock, _names: mood(vendors, "one", Play(500, fault="endless")),
    "redirects": lambda vendors, _clock, _names: mood(vendors, "one", Play(503, headers={"Location": "http://127.0.0.1:1/"})),
    "is not found by name": lambda _vendors, _clock, names: names.lost(),
    "moves to a private address": lambda _vendors, _clock, names: names.moved("10.255.255.1"),
    "a day ahead": lambda _vendors, clock, _names: stepped(clock, 86400),
    "an hour back": lambda _vendors, clock, _names: stepped(clock, -3600),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event waits longer than a second for its next try."""
    usual = retry.wait
    monkeypatch.setattr(retry, "wait", lambda tries, asked, rng: min(1.0, usual(tries, asked, rng)))


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", FAULTS)
async def test_what_was_accepted_arrives_after_a_fault(tmp_path: Path, name: str) -> None:
    """Two lanes; the fault meets one or both; afterwards nothing is missing, made up, altered or sent to the well one twice."""
    oracle, names, clock = Oracle(), Names(), SteppingClock()

    def factory(one: Ready) -> DirectTransport:
        return DirectTransport(one.config, resolver=names, total=0.5, connect=0.3)

    async with Vendors(oracle, ["one", "two"]) as vendors:
        more = "allow_http: true\nallow_private:\n- 127.0.0.0/8\n"
        files = {lane: text.replace("//127.0.0.1", "//vendor.example") for lane, text in vendors.files(10, more).items()}
        async with running(tmp_path, files, transport=factory, clock=clock) as gateway:
            await _send(gateway, oracle)
            with FAULTS[name](vendors, clock, names):
                await _forget_names(gateway)
                for _ in range(5):
                    await _send(gateway, oracle)
                    await asyncio.sleep(SECONDS_OF_FAULT / 5)
            await gateway.admin("POST", "/reload", {})
            await _send(gateway, oracle)
            await gateway.idle(60)
            assert oracle.problems(["one"], duplicates=100) + oracle.problems(["two"]) == []
            assert await gateway.outcomes("two") == {"delivered": len(oracle.acknowledged)}


async def _send(gateway: Running, oracle: Oracle) -> None:
    events = [oracle.event() for _ in range(5)]
    await gateway.send(events)
    oracle.acknowledged.update(event["id"] for event in events)


async def _forget_names(gateway: Running) -> None:
    """A reload makes new connections, so that names are asked for again."""
    await gateway.admin("POST", "/reload", {})


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_an_untrusted_certificate_keeps_every_event_until_it_is_mended(tmp_path: Path) -> None:
    oracle, trusted = Oracle(), False

    def factory(one: Ready) -> DirectTransport:
        ca_file = str(tmp_path / "localhost.pem") if trusted else None
        return DirectTransport(one.config, ca_file=ca_file, resolver=Names())

    vendor = await Vendor().start(certificate(tmp_path, "localhost"))

    def taken(seen: object) -> Play:
        oracle.saw("one", vendor.seen[-1].json())
        return Play(200)

    vendor.always(taken)
    text = f"type: webhook\nsettings:\n  url: https://localhost:{vendor.port}/\nbatch:\n  max_events: 10\n  wrap: $batch\n"
    more = "allow_private:\n- 127.0.0.0/8\nconsent:\n  requires: [analytics_storage]\n"
    async with running(tmp_path, {"one": text + more}, transport=factory) as gateway:
        await _send(gateway, oracle)
        await until(lambda: "tls" in str(gateway.app.lane_report()), 10, "the lane says what is wrong")
        assert vendor.seen == []
        trusted = True
        await gateway.admin("POST", "/reload", {})
        await gateway.idle(30)
    await vendor.stop()
    assert oracle.problems(["one"]) == []


# the harness itself


def test_the_oracle_tells_what_is_missing_made_up_altered_and_doubled() -> None:
    oracle = Oracle()
    good, lost, altered, twice = (oracle.event() for _ in range(4))
    oracle.acknowledged.update(event["id"] for event in (good, lost, altered, twice))
    altered["props"]["value"] += 1
    oracle.saw("one", [good, altered, twice, twice, {"id": "stranger", "props": {"value": 1}}])
    assert oracle.problems(["one"]) == ["one: 1 missing", "one: 1 spurious", "one: 2 corrupted", "one: 1 duplicated"]
    assert "one: 1 duplicated" not in oracle.problems(["one"], duplicates=1)
    assert oracle.problems(["two"]) == ["two: 4 missing"]


METRICS = (
    'tagway_outcomes_total{source="shop",destination="meta",outcome="delivered",reason=""} 7.0\n'
    'tagway_queue_depth{destination="meta"} 3.0\n'
)


@pytest.mark.parametrize(
    ("delivered", "queued", "accepted", "words"),
    [
        (7, 3, 10, []),
        (8, 2, 10, ["8 in the store, 7 on /metrics", "2 queued in the store, 3 on /metrics"]),
        (7, 4, 10, ["does not balance for shop", "4 queued"]),
        (7, 3, 11, ["source shop does not balance"]),
    ],
)
def test_books_that_differ_are_told_figure_by_figure(delivered: int, queued: int, accepted: int, words: list[str]) -> None:
    lane = LaneCount("meta", "shop", 10, 0, Counter({("delivered", ""): delivered}), queued)
    audit = Audit((SourceCount("shop", accepted, 10, 0, 0),), (lane,))
    found = disagreements(audit, METRICS)
    assert len(found) == len(words)
    assert all(word in one for word, one in zip(words, found, strict=True))
    assert disagreements(replace(audit, problems=("a row is damaged",)), METRICS)[0] == "a row is damaged"
