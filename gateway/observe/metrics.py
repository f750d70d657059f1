"""Every metric family of the product, declared once, and the meter that feeds them (design §7).

- Labels are closed: a configured name, or a word of a list in this file; anything else is counted as `other`. Event
  names are no label at all. A family holds at most MAX_SERIES label sets of its own making, so nothing a client
  sends can make a scrape grow.
- What the store counts (outcomes, queue, disk, commits) is read from the store at scrape: a restart or a second process
  changes nothing. Duplicates, which are counted at the source before fan-out, carry `destination=""`.
- What only the process knows (requests, time-outs, lane states) is counted in memory, on label children resolved once.

>>> meter = PrometheusMeter()
>>> meter.attach(store, config, prepared)                # at start and after every reload
>>> app.add_routes([web.get("/metrics", meter.handle)])
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, Protocol, get_type_hints

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.clock import Clock
from gateway.config.models import Gateway
from gateway.errors import RefusedReason
from gateway.event import SECTIONS, EventDict
from gateway.manifest import Manifest
from gateway.meter import REQUEST_SECONDS, Durations, Meter
from gateway.observe.durations import DurationCollector
from gateway.outcomes import REASONS, Outcome
from gateway.queue.base import Store
from gateway.receive import routes

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that says nothing new

MAX_SERIES = 200
"""Label sets of one in-memory family; the rest is counted as `other`."""
OTHER = "other"
LANE_STATES = ("running", "paused", "open", "parked", "off")
STATUSES = frozenset("200 202 204 302 304 400 401 403 404 405 408 409 411 413 414 415 421 429 431 500 501 503".split())
DIALECTS = frozenset(
    "json pixel segment ga4 data_tag meta_pixel snowplow email click shopify woocommerce stripe consent".split()
)
SERVICES = frozenset(
    "/v1/consent /v1/projects/{key}/settings /sourceConfig /v1/m /tag.js /c/{token} /healthz /readyz /robots.txt".split()
)
ROUTES = SERVICES | {row.path for row in routes.DIALECTS}
Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family as it is exposed; `stored` ones are read from the store at scrape."""

    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    stored: bool = False


FAMILIES: dict[str, Family] = {
    "tagway_http_requests_total": Family("counter", "Answered requests of the public listener.", ("route", "status")),
    "tagway_http_request_duration_seconds": Family(
        "histogram",
        "Time from the head of a request to its answer.",
        buckets=REQUEST_SECONDS,
    ),
    "tagway_events_received_total": Family(
        "counter", "Events decoded from hits, before de-duplication.", ("source", "dialect")
    ),
    "tagway_refused_total": Family("counter", "Hits and events not taken.", ("route", "reason")),
    "tagway_ignored_total": Family(
        "counter",
        "Hits that make no event (fetched ahead of a visit, or none in it): answered, nothing stored.",
        ("source", "route", "reason"),
    ),
    "tagway_dropped_fields_total": Family("counter", "Values of hits that could not be used.", ("source", "field")),
    "tagway_outcomes_total": Family(
        "counter",
        "How events ended; duplicates are counted at their source and carry no destination.",
        ("source", "destination", "outcome", "reason"),
        stored=True,
    ),
    "tagway_delivery_duration_seconds": Family(
        "histogram",
        "Time of one request to a vendor.",
        ("destination",),
        buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    ),
    "tagway_queue_depth": Family("gauge", "Events that wait for a destination.", ("destination",), stored=True),
    "tagway_queue_retrying": Family("gauge", "Of these, events in the retry table.", ("destination",), stored=True),
    "tagway_queue_oldest_age_seconds": Family("gauge", "Age of the oldest event that waits.", ("destination",), stored=True),
    "tagway_queue_bytes": Family("gauge", "Bytes of the log with its copies.", stored=True),
    "tagway_queue_wal_bytes": Family("gauge", "Bytes of the write-ahead log in use.", stored=True),
    "tagway_queue_full": Family("gauge", "1 while hits are refused for want of room.", stored=True),
    "tagway_queue_corrupt_rows": Family("gauge", "Rows that failed their checksum.", stored=True),
    "tagway_disk_free_bytes": Family("gauge", "Free bytes where the store lives.", stored=True),
    "tagway_commit_duration_seconds": Family(
        "histogram",
        "Time of one commit with its sync.",
        buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0),
        stored=True,
    ),
    "tagway_lane_state": Family("gauge", "1 for the state a lane is in, 0 for the others.", ("destination", "state")),
    "tagway_last_delivery_timestamp_seconds": Family("gauge", "When a vendor last took an event.", ("destination",)),
    "tagway_token_expiry_timestamp_seconds": Family(
        "gauge", "When a vendor's token ends, by `token_expires`.", ("destination",)
    ),
    "tagway_api_sunset_timestamp_seconds": Family("gauge", "When the vendor ends the API version in use.", ("destination",)),
    "tagway_mapping_nulls_total": Family(
        "counter", "Times a function of a mapping could not do its work and gave null.", ("destination", "field")
    ),
    "tagway_validated_events_total": Family(
        "counter", "Events asked about at a vendor's validation endpoint.", ("destination",)
    ),
    "tagway_validation_messages_total": Family("counter", "Complaints of a vendor's validation endpoint.", ("destination",)),
    "tagway_config_info": Family("gauge", "The configuration in use.", ("hash",)),
}
"""Everything that `/metrics` shows, by name."""


def _made(name: str, registry: CollectorRegistry | None) -> Any:
    """The family as a Prometheus metric that is counted in memory."""
    family = FAMILIES[name]
    if family.kind == "histogram":
        durations = DurationCollector(name, family.text, family.labels, family.buckets)
        if registry is not None:
            registry.register(durations)
        return durations
    return (Counter if family.kind == "counter" else Gauge)(name, family.text, family.labels, registry=registry)


def _gauge(name: str, rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """The family as read at this scrape."""
    made = GaugeMetricFamily(name, FAMILIES[name].text, labels=FAMILIES[name].labels)
    for labels, value in rows:
        made.add_metric(labels, value)
    return made


def _schema_fields() -> frozenset[str]:
    """`user`, `user.email`, `items.price` …: every name the event schema has."""
    names = set(get_type_hints(EventDict))
    for section in (*SECTIONS, "items"):
        part = get_type_hints(EventDict)[section]
        shape = part if hasattr(part, "__annotations__") else getattr(part, "__args__", (None,))[0]
        names.update(f"{section}.{key}" for key in getattr(shape, "__annotations__", {}))
    return frozenset(names)


EVENT_FIELDS = _schema_fields()


class HasVersion(Protocol):
    """Of a prepared destination, what is needed here: its manifest."""

    @property
    def manifest(self) -> Manifest:
        """The vendor's."""


class _Children:
    """The children of one family by their label values; at most MAX_SERIES of them."""

    __slots__ = ("children", "metric", "width")

    def __init__(self, name: str, registry: CollectorRegistry) -> None:
        self.metric = _made(name, registry)
        self.width = len(FAMILIES[name].labels)
        self.children: dict[tuple[str, ...], Any] = {}

    def child(self, labels: tuple[str, ...]) -> Any:
        found = self.children.get(labels)
        if found is None:
            if len(self.children) >= MAX_SERIES - 1:
                labels = (OTHER,) * self.width
            found = self.children[labels] = self.metric.labels(*labels)
        return found

    def clear(self) -> None:
        self.metric.clear()
        self.children.clear()


class PrometheusMeter(Meter):
    """The stages' meter on a registry of its own. Not for use from several threads at once.

    Names are checked from the first `attach` on; what is counted before (while mappings compile) comes from the
    configuration alone.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock or Clock.from_environment()
        self._stored: StoreCollector | None = None
        self._sources: frozenset[str] | None = None
        self._destinations: frozenset[str] | None = None
        self._seconds: Durations = _made("tagway_http_request_duration_seconds", self.registry).labels()
        self._requests = self._children("tagway_http_requests_total")
        self._received = self._children("tagway_events_received_total")
        self._refused = self._children("tagway_refused_total")
        self._ignored = self._children("tagway_ignored_total")
        self._dropped = self._children("tagway_dropped_fields_total")
        self._delivery = self._children("tagway_delivery_duration_seconds")
        self._state = self._children("tagway_lane_state")
        self._last = self._children("tagway_last_delivery_timestamp_seconds")
        self._expiry = self._children("tagway_token_expiry_timestamp_seconds")
        self._nulls = self._children("tagway_mapping_nulls_total")
        self._validated = self._children("tagway_validated_events_total")
        self._messages = self._children("tagway_validation_messages_total")
        self._config = self._children("tagway_config_info")
        self._sunset = self._children("tagway_api_sunset_timestamp_seconds")

    def _children(self, name: str) -> _Children:
        return _Children(name, self.registry)

    def attach(self, store: Store, config: Gateway, prepared: Mapping[str, HasVersion]) -> None:
        """Read this store at scrape and take these names; again after a reload.

        Counts of a name that is gone stay until the process ends; its lane state, hash and dates go.
        """
        if self._stored is None:
            self._stored = StoreCollector(store, self._clock.now)
            self.registry.register(self._stored)
        self._sources = frozenset(config.sources)
        self._destinations = frozenset(config.destinations) | frozenset(store.lanes())
        for family in (self._config, self._sunset, self._expiry, self._state):
            family.clear()
        self._config.child((config.hash[:12],)).set(1)
        for name, one in prepared.items():
            version = one.manifest.version
            if version and (ends := version.ends):
                self._sunset.child((name,)).set(_midnight(ends))
        for name, destination in config.destinations.items():
            if destination.token_expires:
                self._expiry.child((name,)).set(_midnight(destination.token_expires))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition in the format the scraper asks for: (body, content type)."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    async def handle(self, request: web.Request) -> web.Response:
        """`GET /metrics`."""
        body, content_type = self.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    def _destination(self, name: str) -> str:
        return name if self._destinations is None or name in self._destinations else OTHER

    def _source(self, name: str) -> str:
        return name if self._sources is None or name in self._sources else OTHER

    def _route(self, route: str) -> str:
        return route if route in ROUTES else OTHER

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requested(route, status).inc()
        self._seconds.observe(seconds)

    def requests(self, counts: Mapping[tuple[str, int], int], durations: Durations) -> None:
        for (route, status), n in counts.items():
            self._requested(route, status).inc(n)
        self._seconds.add(durations)

    def _requested(self, route: str, status: int) -> Any:
        text = str(status)
        return self._requests.child((self._route(route), text if text in STATUSES else OTHER))

    def received(self, source: str, dialect: str, events: int) -> None:
        self._received.child((self._source(source), dialect if dialect in DIALECTS else OTHER)).inc(events)

    def refused(self, route: str, reason: str, events: int = 1) -> None:
        known = reason if reason in RefusedReason.__members__.values() else OTHER
        self._refused.child((self._route(route), str(known))).inc(events)

    def ignored(self, source: str, route: str, reason: str) -> None:
        self._ignored.child((self._source(source), self._route(route), reason)).inc()

    def dropped(self, source: str, field: str) -> None:
        self._dropped.child((self._source(source), _schema_name(field))).inc()

    def delivery(self, destination: str, seconds: float) -> None:
        self._delivery.child((self._destination(destination),)).observe(seconds)

    def delivered(self, destination: str, at: float) -> None:
        self._last.child((self._destination(destination),)).set(at)

    def lane_state(self, destination: str, state: str) -> None:
        name = self._destination(destination)
        for known in LANE_STATES:
            self._state.child((name, known)).set(1 if known == state else 0)

    def mapping_null(self, destination: str, field: str) -> None:
        self._nulls.child((self._destination(destination), field)).inc()

    def validation(self, destination: str, messages: int) -> None:
        name = (self._destination(destination),)
        self._validated.child(name).inc()
        self._messages.child(name).inc(messages)


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _schema_name(name: str) -> str:
    """A field as the schema names it: `user.email` itself, `props.colour` → `props`, what it does not know → `other`."""
    if name in EVENT_FIELDS:
        return name
    section = name.partition(".")[0].partition("[")[0]
    return section if section in EVENT_FIELDS else OTHER


class StoreCollector(Collector):
    """Reads the store when it is scraped."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._commits = _made("tagway_commit_duration_seconds", None)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield self._outcomes()
        yield from self._lanes()
        yield from self._sizes()
        yield from self._commits.collect()

    def _outcomes(self) -> Metric:
        totals: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)
        for (source, lane, _label, outcome, reason), count in self._store.counters().items():
            if _is_outcome(outcome, reason):
                totals[(source, lane, outcome, reason)] += count
        name = "tagway_outcomes_total"
        family = CounterMetricFamily(name, FAMILIES[name].text, labels=FAMILIES[name].labels)
        for labels, count in sorted(totals.items()):
            family.add_metric(labels, count)
        return family

    def _lanes(self) -> Iterator[Metric]:
        now = self._now()
        waiting = {lane: self._store.depth(lane) for lane in self._store.lanes()}
        yield _gauge("tagway_queue_depth", (((lane,), one.queued) for lane, one in waiting.items()))
        yield _gauge("tagway_queue_retrying", (((lane,), one.retrying) for lane, one in waiting.items()))
        ages = {lane: 0.0 if one.oldest is None else max(0.0, now - one.oldest) for lane, one in waiting.items()}
        yield _gauge("tagway_queue_oldest_age_seconds", (((lane,), age) for lane, age in ages.items()))

    def _sizes(self) -> Iterator[Metric]:
        stats = self._store.stats()
        for seconds in stats.commit_seconds:
            self._commits.labels().observe(seconds)
        for name, value in (
            ("tagway_queue_bytes", stats.log_bytes),
            ("tagway_queue_wal_bytes", stats.wal_bytes),
            ("tagway_queue_full", stats.full),
            ("tagway_queue_corrupt_rows", stats.corrupt_rows),
            ("tagway_disk_free_bytes", stats.disk_free),
        ):
            yield _gauge(name, [((), float(value))])


def _is_outcome(outcome: str, reason: str) -> bool:
    """The store may count other things beside outcomes (what was logged, what came late)."""
    return outcome in Outcome.__members__.values() and reason in REASONS[Outcome(outcome)]
