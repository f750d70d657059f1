"""Breaker, pause and the regulators, each by itself."""

from __future__ import annotations

import pytest

from gateway.clock import FrozenClock
from gateway.config.models import BatchLimits
from gateway.deliver.breaker import FAILURES, Breaker
from gateway.deliver.circuit import Circuit
from gateway.deliver.limits import Concurrency, Rate, bounds_of
from gateway.deliver.pause import MAX_SUSPECTS, Pause
from gateway.manifest import Manifest, VendorLimits
from tests.lane_kit import NOW, Recording, config

A, B, C = ("shop", 1), ("shop", 2), ("shop", 3)


def test_the_breaker_opens_with_the_fifth_failure_in_a_row() -> None:
    breaker = Breaker()
    assert [breaker.failure(0.0) for _ in range(7)] == [False] * 4 + [True, False, False]
    assert breaker.open


def test_a_sign_of_life_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(20):
        for _ in range(FAILURES - 1):
            assert not breaker.failure(0.0)
        assert not breaker.success()


def test_an_open_breaker_probes_every_thirty_seconds_until_the_first_success() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failure(100.0)
    assert breaker.probe_in(100.0) == 30.0
    assert breaker.probe_in(131.0) == 0.0
    breaker.probing(131.0)
    breaker.failure(132.0)
    assert breaker.probe_in(132.0) == 29.0
    assert breaker.success()
    assert not breaker.open


def test_one_refused_batch_does_not_pause() -> None:
    pause = Pause()
    assert not pause.refused({A}, "expired", 0.0)
    assert not pause.refused({A}, "expired", 1.0)
    assert (pause.paused, pause.wary) == (False, True)


def test_two_batches_with_an_event_in_common_do_not_pause() -> None:
    pause = Pause()
    assert not pause.refused({A, B}, "", 0.0)
    assert not pause.refused({B, C}, "", 1.0)


def test_two_different_refused_batches_pause() -> None:
    pause = Pause()
    assert not pause.refused({A}, "", 0.0)
    assert pause.refused({B}, "expired", 1.0)
    assert (pause.paused, pause.why, pause.probe_in(1.0)) == (True, "expired", 300.0)


def test_a_success_between_two_refused_batches_proves_that_it_is_not_us() -> None:
    pause = Pause()
    pause.refused({A}, "", 0.0)
    assert not pause.success()
    assert not pause.refused({B}, "", 1.0)
    assert not pause.paused


def test_an_event_refused_before_others_passed_is_singular() -> None:
    pause = Pause()
    assert not pause.singular({A})
    pause.refused({A}, "", 0.0)
    assert not pause.singular({A})
    pause.success()
    assert pause.singular({A})
    assert pause.singular({A, B})
    assert not pause.singular({B})
    pause.settled(A)
    assert not pause.singular({A})


def test_a_paused_lane_probes_every_five_minutes_and_when_asked_to() -> None:
    pause = Pause()
    pause.refused({A}, "", 0.0)
    pause.refused({B}, "", 0.0)
    pause.probing(300.0)
    assert pause.probe_in(300.0) == 300.0
    pause.probe_now()
    assert pause.probe_in(300.0) == 0.0
    assert pause.success()
    assert not pause.paused


def test_suspects_are_bounded() -> None:
    pause = Pause()
    for n in range(MAX_SUSPECTS * 2):
        pause.refused({("shop", n)}, "", 0.0)
    assert len(pause._suspects) == MAX_SUSPECTS


def test_the_rate_holds_over_any_stretch() -> None:
    rate, now, passed = Rate(20.0, 0.0), 0.0, 0
    while now < 10.0:
        wait = rate.take(now)
        passed += not wait
        now += wait
    assert 198 <= passed <= 203


def test_a_rate_that_rested_bursts_by_a_tenth_of_a_second() -> None:
    rate = Rate(50.0, 0.0)
    assert [rate.take(3600.0) == 0.0 for _ in range(6)] == [True] * 5 + [False]


def test_without_a_rate_nothing_waits() -> None:
    assert {Rate(None, 0.0).take(0.0) for _ in range(1000)} == {0.0}


def test_concurrency_climbs_by_one_a_round_and_is_halved() -> None:
    concurrency = Concurrency(8)
    limits = []
    for _ in range(28):
        concurrency.success()
        limits.append(concurrency.limit)
    assert limits[0] == 2
    assert limits[2] == 3
    assert limits[-1] == 8
    concurrency.success()
    assert concurrency.limit == 8
    concurrency.throttled()
    assert concurrency.limit == 4
    for _ in range(5):
        concurrency.throttled()
    assert concurrency.limit == 1


@pytest.mark.parametrize(
    ("vendor", "own", "expected"),
    [
        (604800.0, None, 604740.0),
        (604800.0, 3600.0, 3564.0),
        (3600.0, 604800.0, 3564.0),
        (604800.0, "off", None),
        (None, None, None),
        (None, 7200.0, 7140.0),
    ],
)
def test_the_customer_narrows_the_age_or_lifts_it(
    vendor: float | None, own: float | str | None, expected: float | None
) -> None:
    manifest = Manifest.model_construct(limits=VendorLimits(max_age=vendor), batch=BatchLimits())
    assert bounds_of(manifest, config(limits={"max_age": own})).max_age == expected


def test_the_customer_narrows_batches_and_never_widens_them() -> None:
    manifest = Manifest.model_construct(
        limits=VendorLimits(rps=100, concurrency=4), batch=BatchLimits(max_events=500, max_bytes=10_000, max_wait_ms=200)
    )
    wide = bounds_of(manifest, config(batch={"max_events": 900, "max_bytes": 20_000}, limits={"rps": 500, "concurrency": 9}))
    assert (wide.max_events, wide.max_bytes, wide.rps, wide.concurrency, wide.max_wait) == (500, 10_000, 100, 4, 0.2)
    tight = bounds_of(manifest, config(batch={"max_events": 1}, limits={"rps": 5}))
    assert (tight.max_events, tight.rps, tight.max_wait) == (1, 5, 0.0)


@pytest.fixture
def circuit() -> Circuit:
    return Circuit("acme", 8, Recording(), FrozenClock(NOW))


def test_a_circuit_tells_the_meter_and_the_lane_of_each_change_once(circuit: Circuit) -> None:
    seen: list[str] = []
    circuit.changed = lambda: seen.append(circuit.state)
    for _ in range(8):
        circuit.failed("timeout")
    circuit.alive()
    circuit.alive()
    assert seen == ["open", "running"]


def test_after_an_outage_concurrency_climbs_from_one(circuit: Circuit) -> None:
    for _ in range(40):
        circuit.alive()
    assert circuit.limit == 8
    for _ in range(5):
        circuit.failed("timeout")
    circuit.alive()
    assert circuit.limit == 1


def test_a_first_refusal_leaves_one_request_at_a_time(circuit: Circuit) -> None:
    for _ in range(40):
        circuit.alive()
    circuit.refused({A}, "expired")
    assert (circuit.limit, circuit.running) == (1, True)
    circuit.delivered()
    assert circuit.limit == 8


def test_a_pause_outlasts_a_breaker_that_closes(circuit: Circuit) -> None:
    for _ in range(5):
        circuit.failed("timeout")
    circuit.refused({A}, "expired")
    circuit.refused({B}, "expired")
    assert circuit.state == "paused"
    circuit.alive()
    assert circuit.state == "paused"
    circuit.delivered()
    assert circuit.state == "running"


def test_three_429_in_a_row_hold_the_whole_lane(circuit: Circuit) -> None:
    now = circuit._clock.monotonic()
    circuit.throttled(600.0)
    circuit.throttled(600.0)
    assert circuit.hold_in(now) == 0.0
    circuit.throttled(600.0)
    assert 599 < circuit.hold_in(now) < 601
    assert circuit.state == "running"


def test_429_never_opens_the_breaker(circuit: Circuit) -> None:
    for _ in range(50):
        circuit.throttled(None)
    assert circuit.running
