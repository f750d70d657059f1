"""When a failed event is tried again, when it is dead, and what counts as time."""

from __future__ import annotations

import random

import pytest

from gateway.deliver import retry


@pytest.mark.parametrize("tries", [1, 2, 5, 6, 11, 12, 13, 40, 10_000])
def test_the_wait_is_full_jitter_over_two_to_the_n_up_to_an_hour(tries: int) -> None:
    rng = random.Random(tries)
    waits = [retry.wait(tries, None, rng) for _ in range(2000)]
    ceiling = min(3600.0, 2.0 ** min(tries, 60))
    assert 0 <= min(waits) < 0.01 * ceiling
    assert 0.99 * ceiling < max(waits) <= ceiling
    assert abs(sum(waits) / 2000 - ceiling / 2) < 0.05 * ceiling


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(0, 0, 0.5), (7, 7, 8.2), (600, 600, 660.5), (3600, 3600, 3600), (9e9, 3600, 3600)]
)
def test_retry_after_is_obeyed_up_to_an_hour_and_spread_a_little(asked: float, least: float, most: float) -> None:
    waits = [retry.wait(3, asked, random.Random(n)) for n in range(200)]
    assert least <= min(waits)
    assert max(waits) <= most


@pytest.mark.parametrize(
    ("tries", "hours", "dead"), [(9, 500, False), (10, 71.9, False), (10, 72, True), (500, 1, False), (11, 100, True)]
)
def test_dead_needs_ten_tries_and_three_days(tries: int, hours: float, dead: bool) -> None:
    assert retry.is_dead(tries, 1000.0, 1000.0 + hours * 3600) is dead


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0), (" 0 ", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 100.0), ("Wed, 21 Oct 2015 07:20:00 GMT", 0.0),
        ("", None), ("soon", None), ("-5", None), ("1.5", None), ("٣", None), ("9" * 400, 999999999.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date(text: str, seconds: float | None) -> None:
    assert retry.retry_after({"retry-after": text}, 1445412480.0 - 100) == seconds


def test_without_the_header_nothing_is_asked() -> None:
    assert retry.retry_after({}, 0.0) is None


def test_the_time_before_the_lane_started_is_a_stoppage() -> None:
    assert retry.Stoppages(100.0).overlap(40.0, 150.0) == 60.0


def test_stoppages_add_up_and_an_open_one_lasts_until_now() -> None:
    stoppages = retry.Stoppages(0.0)
    stoppages.begin(10.0)
    stoppages.begin(12.0)
    stoppages.end(20.0)
    stoppages.end(25.0)
    stoppages.begin(50.0)
    assert stoppages.overlap(15.0, 60.0) == 15.0
    assert stoppages.overlap(30.0, 40.0) == 0.0


def test_stoppages_are_bounded() -> None:
    stoppages = retry.Stoppages(0.0)
    for n in range(5000):
        stoppages.begin(2.0 * n + 1)
        stoppages.end(2.0 * n + 2)
    assert len(stoppages._spans) <= retry.MAX_STOPPAGES + 1
    assert stoppages.overlap(9990.0, 10_000.0) == 5.0


@pytest.mark.parametrize(("results", "tried"), [([True], 2), ([False], 1), ([True, False], 2)])
async def test_quick_tries_are_at_most_two_and_stop_at_success(results: list[bool], tried: int) -> None:
    slept: list[float] = []
    seen: list[bool] = []

    async def attempt() -> bool:
        seen.append(results[min(len(seen), len(results) - 1)])
        return seen[-1]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    assert await retry.quickly(attempt, bool, sleep) is seen[-1]
    assert len(seen) == tried
    assert sum(slept) <= retry.QUICK_SECONDS
