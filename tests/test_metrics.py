"""Metrics: stored counters at scrape, closed labels, and a bounded exposition whatever clients send."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest

from gateway.clock import FrozenClock
from gateway.config.models import DestinationConfig, Gateway, Source
from gateway.meter import Meter
from gateway.observe.metrics import FAMILIES, MAX_SERIES, ROUTES, PrometheusMeter
from gateway.queue.base import Counter, LaneDepth, StoreStats
from gateway.receive.http import Door

NOW = 1_795_514_400.0


class FakeStore:
    """The part of a store that is read at scrape."""

    def __init__(self, counters: dict[Counter, int]) -> None:
        self.counted = counters
        self.commits: list[float] = []

    def counters(self) -> Mapping[Counter, int]:
        return self.counted

    def lanes(self) -> Mapping[str, list[str]]:
        return {"meta": ["shop"], "ga4": ["shop"]}

    def depth(self, lane: str) -> LaneDepth:
        return LaneDepth(3, 1, NOW - 90) if lane == "meta" else LaneDepth(0, 0, None)

    def stats(self) -> StoreStats:
        commits, self.commits = self.commits, []
        return StoreStats(1000, 2000, 3000, full=True, corrupt_rows=4, commit_seconds=commits)


def config(*destinations: str, digest: str = "abc123") -> Gateway:
    made = {name: DestinationConfig(name=name, type=name, file="x.yaml", sources=["shop"]) for name in destinations}
    return Gateway(file="gateway.yaml", hash=digest, sources={"shop": Source()}, destinations=made)


def prepared(**ends: date | None) -> dict[str, SimpleNamespace]:
    return {name: SimpleNamespace(manifest=SimpleNamespace(version=SimpleNamespace(ends=day))) for name, day in ends.items()}


def metrics_over(counters: dict[Counter, int] | None = None) -> PrometheusMeter:
    meter = PrometheusMeter(FrozenClock(NOW))
    store = FakeStore(counters or {})
    meter.attach(store, config("meta", "ga4"), prepared(meta=date(2027, 5, 1), ga4=None))  # type: ignore[arg-type]
    return meter


def lines(metrics: PrometheusMeter) -> dict[str, float]:
    """`name{labels}` → value of the exposition."""
    text = metrics.render()[0].decode()
    return {key: float(value) for key, value in re.findall(r"^([^#\s][^ ]*) (\S+)$", text, re.MULTILINE)}


def series(metrics: PrometheusMeter, family: str) -> list[str]:
    return [name for name in lines(metrics) if name.startswith((f"{family}{{", f"{family} ")) or name == family]


def outcome(source: str, destination: str, name: str, reason: str) -> str:
    return f'tagway_outcomes_total{{destination="{destination}",outcome="{name}",reason="{reason}",source="{source}"}}'


def test_outcomes_are_the_stored_counters_summed_over_event_names() -> None:
    metrics = metrics_over(
        {
            ("shop", "meta", "purchase", "delivered", ""): 5,
            ("shop", "meta", "page_view", "delivered", ""): 7,
            ("shop", "meta", "purchase", "skipped", "consent"): 2,
            ("shop", "", "purchase", "duplicate", "same"): 3,
        }
    )
    seen = lines(metrics)
    assert seen[outcome("shop", "meta", "delivered", "")] == 12
    assert seen[outcome("shop", "meta", "skipped", "consent")] == 2
    assert seen[outcome("shop", "", "duplicate", "same")] == 3


@pytest.mark.parametrize(
    "strange", [("shop", "", "purchase", "logged", ""), ("shop", "meta", "purchase", "delivered", "made_up")]
)
def test_only_the_closed_outcomes_are_exposed(strange: Counter) -> None:
    assert series(metrics_over({strange: 1}), "tagway_outcomes_total") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ('tagway_queue_depth{destination="meta"}', 3),
        ('tagway_queue_retrying{destination="meta"}', 1),
        ('tagway_queue_oldest_age_seconds{destination="meta"}', 90),
        ('tagway_queue_oldest_age_seconds{destination="ga4"}', 0),
        ("tagway_queue_bytes", 1000),
        ("tagway_queue_wal_bytes", 2000),
        ("tagway_disk_free_bytes", 3000),
        ("tagway_queue_full", 1),
        ("tagway_queue_corrupt_rows", 4),
        ('tagway_config_info{hash="abc123"}', 1),
        ('tagway_api_sunset_timestamp_seconds{destination="meta"}', datetime(2027, 5, 1, tzinfo=UTC).timestamp()),
    ],
)
def test_sizes_ages_and_dates_are_read_at_scrape(name: str, value: float) -> None:
    assert lines(metrics_over())[name] == value


def test_commits_of_the_store_accumulate_over_scrapes() -> None:
    metrics = metrics_over()
    collector = next(c for c in metrics.registry._collector_to_names if type(c).__name__ == "StoreCollector")
    collector._store.commits = [0.002, 0.2]  # type: ignore[attr-defined]
    lines(metrics)
    collector._store.commits = [0.2]  # type: ignore[attr-defined]
    seen = lines(metrics)
    assert seen["tagway_commit_duration_seconds_count"] == 3
    assert seen['tagway_commit_duration_seconds_bucket{le="0.0025"}'] == 1


def test_what_stages_report_is_counted() -> None:
    metrics = metrics_over()
    meter = metrics
    meter.request("/v1/events", 200, 0.003)
    meter.received("shop", "json", 4)
    meter.refused("/v1/events", "malformed", 2)
    meter.dropped("shop", "user.email")
    meter.dropped("shop", "props.my_own")
    meter.delivery("meta", 0.3)
    meter.delivered("meta", NOW)
    meter.mapping_null("meta", "user_data.em")
    meter.validation("ga4", 2)
    seen = lines(metrics)
    for name, value in {
        'tagway_http_requests_total{route="/v1/events",status="200"}': 1,
        "tagway_http_request_duration_seconds_count": 1,
        'tagway_events_received_total{dialect="json",source="shop"}': 4,
        'tagway_refused_total{reason="malformed",route="/v1/events"}': 2,
        'tagway_dropped_fields_total{field="user.email",source="shop"}': 1,
        'tagway_dropped_fields_total{field="props",source="shop"}': 1,
        'tagway_delivery_duration_seconds_count{destination="meta"}': 1,
        'tagway_last_delivery_timestamp_seconds{destination="meta"}': NOW,
        'tagway_mapping_nulls_total{destination="meta",field="user_data.em"}': 1,
        'tagway_validated_events_total{destination="ga4"}': 1,
        'tagway_validation_messages_total{destination="ga4"}': 2,
    }.items():
        assert seen[name] == value, name


def test_everything_exposed_is_declared_and_everything_declared_is_exposed() -> None:
    text = metrics_over().render()[0].decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert types == {name: family.kind for name, family in FAMILIES.items()}


def test_a_lane_is_in_one_state_at_a_time() -> None:
    metrics = metrics_over()
    metrics.lane_state("meta", "running")
    metrics.lane_state("meta", "paused")
    on = [name for name in series(metrics, "tagway_lane_state") if lines(metrics)[name] == 1]
    assert on == ['tagway_lane_state{destination="meta",state="paused"}']


def test_what_mappings_report_while_they_compile_keeps_its_destination() -> None:
    meter = PrometheusMeter(FrozenClock(NOW))
    meter.mapping_null("meta", "user_data.em")
    assert lines(meter)['tagway_mapping_nulls_total{destination="meta",field="user_data.em"}'] == 1


def test_the_end_of_a_token_is_what_the_destination_says() -> None:
    metrics = metrics_over()
    assert series(metrics, "tagway_token_expiry_timestamp_seconds") == []
    told = config("meta", "ga4")
    told.destinations["meta"] = told.destinations["meta"].model_copy(update={"token_expires": date(2026, 12, 1)})
    metrics.attach(FakeStore({}), told, prepared())  # type: ignore[arg-type]
    name = 'tagway_token_expiry_timestamp_seconds{destination="meta"}'
    assert lines(metrics)[name] == datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    metrics.attach(FakeStore({}), config("meta"), prepared())  # type: ignore[arg-type]
    assert series(metrics, "tagway_token_expiry_timestamp_seconds") == []


def test_a_reload_replaces_hash_and_sunsets() -> None:
    metrics = metrics_over()
    metrics.attach(FakeStore({}), config("ga4", digest="def456"), prepared(ga4=None))  # type: ignore[arg-type]
    assert series(metrics, "tagway_config_info") == ['tagway_config_info{hash="def456"}']
    assert series(metrics, "tagway_api_sunset_timestamp_seconds") == []


@pytest.mark.parametrize(
    ("report", "family"),
    [
        (lambda meter, i: meter.request(f"/x{i}", i, 0.1), "tagway_http_requests_total"),
        (lambda meter, i: meter.received(f"s{i}", f"d{i}", 1), "tagway_events_received_total"),
        (lambda meter, i: meter.refused(f"/x{i}", f"r{i}"), "tagway_refused_total"),
        (lambda meter, i: meter.dropped(f"s{i}", f"f{i}.x"), "tagway_dropped_fields_total"),
        (lambda meter, i: meter.delivery(f"d{i}", 0.1), "tagway_delivery_duration_seconds_count"),
        (lambda meter, i: meter.mapping_null(f"d{i}", f"f{i}"), "tagway_mapping_nulls_total"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unknown_names_never_make_more_than_the_allowed_series(report: object, family: str) -> None:
    metrics = metrics_over()
    for i in range(1000):
        report(metrics, i)  # type: ignore[operator]
    assert 1 <= len(series(metrics, family)) <= MAX_SERIES


@pytest.mark.slow
def test_100_000_distinct_names_change_neither_series_nor_scrape_time() -> None:
    metrics = metrics_over()
    before = len(lines(metrics))
    for i in range(100_000):
        metrics.request(f"/path/{i}", 200 + i % 400, 0.001)
        metrics.received(f"source-{i}", "json", 1)
        metrics.refused(f"/path/{i}", f"reason-{i}")
        metrics.dropped("shop", f"props.{i}")
        metrics.mapping_null("meta", f"field-{i}")
    started = time.perf_counter()
    after = len(lines(metrics))
    assert time.perf_counter() - started < 0.2
    assert after - before < 2 * MAX_SERIES


def test_every_route_of_the_door_has_a_label_of_its_own() -> None:
    """A row that the door answers and the metrics do not know would be counted as `other`."""
    door = Door(config(), None, None, Meter(), FrozenClock(NOW))  # type: ignore[arg-type]
    assert door.paths() <= ROUTES


def test_event_names_of_counters_are_no_series() -> None:
    few = metrics_over({("shop", "meta", "purchase", "delivered", ""): 1})
    many = metrics_over({("shop", "meta", f"name-{i}", "delivered", ""): 1 for i in range(5000)})
    assert len(lines(few)) == len(lines(many))


def test_both_exposition_formats_are_offered() -> None:
    metrics = metrics_over()
    assert metrics.render()[1].startswith("text/plain")
    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
