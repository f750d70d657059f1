"""A short soak: the checks of `make soak` on a run of under a minute, and that each of them can fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.load.soak import Sample, drain_rate, problems, requests_while_open, soak, spread


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_outage_of_one_vendor_costs_nothing_but_time() -> None:
    outcome = soak(24, outage=8, rate=150)
    assert outcome.problems == [], outcome.facts


FACTS: dict[str, Any] = {
    "events": 10,
    "arrived": {"meta": 10, "ga4": 10, "tiktok": 10},
    "books balance": True,
    "memory MB, first and last third": (80.0, 90.0),
    "descriptors, first and last third": (40.0, 44.0),
    "largest write-ahead log, bytes": 20 << 20,
    "requests to the dead vendor after its breaker opened": 3,
    "drained, events a second": 400.0,
}


def test_a_run_in_which_all_holds_has_no_problems() -> None:
    assert problems(FACTS, {"answers": {"200": 10}}, 200) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("arrived", {"meta": 10, "ga4": 9, "tiktok": 10}, "the sink did not count what was sent"),
        ("arrived", {"meta": 10, "ga4": 11, "tiktok": 10}, "the sink did not count what was sent"),
        ("books balance", False, "the books do not balance"),
        ("memory MB, first and last third", (80.0, 113.0), "memory grew"),
        ("descriptors, first and last third", (40.0, 90.0), "descriptors grew"),
        ("largest write-ahead log, bytes", 200 << 20, "the write-ahead log grew"),
        ("requests to the dead vendor after its breaker opened", 26, "the dead vendor was not left alone"),
        ("requests to the dead vendor after its breaker opened", -1, "the breaker never opened"),
        ("drained, events a second", 399.0, "the backlog drained slowly"),
    ],
)
def test_what_does_not_hold_is_told(name: str, value: object, problem: str) -> None:
    assert problems({**FACTS, name: value}, {"answers": {"200": 10}}, 200) == [problem]


def test_an_answer_other_than_200_is_told() -> None:
    assert problems(FACTS, {"answers": {"200": 9, "503": 1}}, 200) == ["not every hit was answered with 200"]


def sample(at: float, queued: int, state: str = "running", requests: int = 0, rss: float = 80.0) -> Sample:
    return Sample(at, rss, 40, 0, state, queued, requests)


def test_the_drain_counts_from_the_fullest_to_keeping_pace_and_includes_the_input() -> None:
    samples = [
        sample(0, 5),
        sample(10, 900),
        sample(11, 1000),
        sample(12, 1000),
        sample(16, 200),
        sample(17, 50),
        sample(18, 40),
    ]
    assert drain_rate(samples, up_at=10, rate=100, seconds=60) == pytest.approx((1000 - 50) / 5 + 100)
    assert drain_rate(samples, up_at=10, rate=100, seconds=13) == pytest.approx((1000 - 50 + 100) / 5)
    assert drain_rate(samples[:5], up_at=10, rate=100, seconds=60) == 0.0


def test_requests_are_those_between_the_open_breaker_and_the_return() -> None:
    samples = [sample(1, 0, requests=50), sample(2, 0, "open", 60), sample(9, 0, "open", 61), sample(11, 0, "open", 90)]
    assert requests_while_open(samples, up_at=10) == 1
    assert requests_while_open(samples[:1], up_at=10) == -1


def test_the_spread_compares_the_first_third_with_the_last() -> None:
    assert spread([sample(n, 0, rss=80.0 + n) for n in range(9)], "rss") == (82.0, 88.0)
