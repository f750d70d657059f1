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
from datetime import UTC, datetime
from typing import Any, Protocol, get_type_hints

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.clock import Clock
from gateway.config.models import Gateway
from gateway.errors import RefusedReason
from gateway.event import SECTIONS, EventDict
from gateway.manifest import Manifest
from gateway.meter import Meter
from gateway.outcomes import REASONS, Outcome
from gateway.queue.base import Store

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that says nothing new

MAX_SERIES = 200
"""Label sets of one in-memory family; the rest is counted as `other`."""
OTHER = "other"
LANE_STATES = ("running", "paused", "open", "parked", "off")
STATUSES = frozenset("200 202 204 302 304 400 401 403 404 405 408 409 411 413 414 415 421 429 431 500 501 503".split())
DIALECTS = frozenset(
    "json pixel segment ga4 data_tag meta_pixel snowplow email click shopify woocommerce stripe consent".split()
)
ROUTES = frozenset(
    """/v1/events /p.gif /v1/track /v1/page /v1/screen /v1/identify /v1/group /v1/alias /v1/batch /v1/import /v1/t /v1/p
    /v1/s /v1/i /v1/g /v1/a /v1/b /g/collect /mp/collect /hooks/{shop}/{source} /hooks/shopify/{source}
    /hooks/woocommerce/{source} /hooks/stripe/{source} /data /tr /i /com.snowplowanalytics.snowplow/tp2 /o/{token}.gif
    /c/{token} /v1/consent /v1/projects/{key}/settings /v1/m /tag.js /healthz /readyz /robots.txt""".split()
)
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
DELIVERY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


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


class _Family:
    """The children of one family by their label values; at most MAX_SERIES of them."""

    __slots__ = ("children", "metric", "width")

    def __init__(self, metric: Any, width: int) -> None:
        self.metric = metric
        self.width = width
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
        self.registry = registry = CollectorRegistry()
        self._clock = clock or Clock.from_environment()
        self._stored: StoreCollector | None = None
        self._sources: frozenset[str] | None = None
        self._destinations: frozenset[str] | None = None

        def counter(name: str, text: str, *labels: str) -> _Family:
            return _Family(Counter(name, text, labels, registry=registry), len(labels))

        def gauge(name: str, text: str, *labels: str) -> _Family:
            return _Family(Gauge(name, text, labels, registry=registry), len(labels))

        self._requests = counter("tagway_http_requests_total", "Answered requests of the public listener.", "route", "status")
        self._seconds = Histogram(
            "tagway_http_request_duration_seconds",
            "Time from the whole head of a request to its answer.",
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._received = counter(
            "tagway_events_received_total", "Events decoded from hits, before de-duplication.", "source", "dialect"
        )
        self._refused = counter("tagway_refused_total", "Hits and events not taken.", "route", "reason")
        self._dropped = counter("tagway_dropped_fields_total", "Values of hits that could not be used.", "source", "field")
        self._delivery = _Family(
            Histogram(
                "tagway_delivery_duration_seconds",
                "Time of one request to a vendor.",
                ["destination"],
                buckets=DELIVERY_BUCKETS,
                registry=registry,
            ),
            1,
        )
        self._state = gauge("tagway_lane_state", "1 for the state a lane is in, 0 for the others.", "destination", "state")
        self._last = gauge("tagway_last_delivery_timestamp_seconds", "When a vendor last took an event.", "destination")
        self._expiry = gauge("tagway_token_expiry_timestamp_seconds", "When a vendor's token ends.", "destination")
        self._nulls = counter(
            "tagway_mapping_nulls_total",
            "Times a function of a mapping could not do its work and gave null.",
            "destination",
            "field",
        )
        self._validated = counter(
            "tagway_validated_events_total", "Events asked about at a vendor's validation endpoint.", "destination"
        )
        self._messages = counter(
            "tagway_validation_messages_total", "Complaints of a vendor's validation endpoint.", "destination"
        )
        self._config = gauge("tagway_config_info", "The configuration in use.", "hash")
        self._sunset = gauge(
            "tagway_api_sunset_timestamp_seconds", "When the vendor ends the API version in use.", "destination"
        )

    def attach(self, store: Store, config: Gateway, prepared: Mapping[str, HasVersion]) -> None:
        """Read this store at scrape and take these names; again after a reload.

        Counts of a name that is gone stay until the process ends; its lane state, hash and sunset go.
        """
        if self._stored is None:
            self._stored = StoreCollector(store, self._clock.now)
            self.registry.register(self._stored)
        self._sources = frozenset(config.sources)
        self._destinations = frozenset(config.destinations) | frozenset(store.lanes())
        for family in (self._config, self._sunset, self._state):
            family.clear()
        self._config.child((config.hash[:12],)).set(1)
        for name, one in prepared.items():
            version = one.manifest.version
            if version and (ends := version.ends):
                self._sunset.child((name,)).set(datetime(ends.year, ends.month, ends.day, tzinfo=UTC).timestamp())

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
        text = str(status)
        self._requests.child((self._route(route), text if text in STATUSES else OTHER)).inc()
        self._seconds.observe(seconds)

    def received(self, source: str, dialect: str, events: int) -> None:
        self._received.child((self._source(source), dialect if dialect in DIALECTS else OTHER)).inc(events)

    def refused(self, route: str, reason: str, events: int = 1) -> None:
        known = reason if reason in RefusedReason.__members__.values() else OTHER
        self._refused.child((self._route(route), str(known))).inc(events)

    def dropped(self, source: str, field: str) -> None:
        self._dropped.child((self._source(source), _schema_name(field))).inc()

    def delivery(self, destination: str, seconds: float) -> None:
        self._delivery.child((self._destination(destination),)).observe(seconds)

    def delivered(self, destination: str, at: float) -> None:
        self._last.child((self._destination(destination),)).set(at)

    def token_expiry(self, destination: str, at: float) -> None:
        self._expiry.child((self._destination(destination),)).set(at)

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
        self._commits = Histogram(
            "tagway_commit_duration_seconds",
            "Time of one commit with its sync.",
            buckets=COMMIT_BUCKETS,
            registry=None,
        )

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
        family = CounterMetricFamily(
            "tagway_outcomes",
            "How events ended; duplicates are counted at their source and carry no destination.",
            labels=("source", "destination", "outcome", "reason"),
        )
        for labels, count in sorted(totals.items()):
            family.add_metric(labels, count)
        return family

    def _lanes(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("tagway_queue_depth", "Events that wait for a destination.", labels=["destination"])
        retrying = GaugeMetricFamily("tagway_queue_retrying", "Of these, events in the retry table.", labels=["destination"])
        age = GaugeMetricFamily(
            "tagway_queue_oldest_age_seconds", "Age of the oldest event that waits.", labels=["destination"]
        )
        for lane in self._store.lanes():
            waiting = self._store.depth(lane)
            depth.add_metric([lane], waiting.queued)
            retrying.add_metric([lane], waiting.retrying)
            age.add_metric([lane], 0.0 if waiting.oldest is None else max(0.0, self._now() - waiting.oldest))
        return iter((depth, retrying, age))

    def _sizes(self) -> Iterator[Metric]:
        stats = self._store.stats()
        for seconds in stats.commit_seconds:
            self._commits.observe(seconds)
        yield GaugeMetricFamily("tagway_queue_bytes", "Bytes of the log with its copies.", stats.log_bytes)
        yield GaugeMetricFamily("tagway_queue_wal_bytes", "Bytes of the write-ahead log in use.", stats.wal_bytes)
        yield GaugeMetricFamily("tagway_disk_free_bytes", "Free bytes where the store lives.", stats.disk_free)
        yield GaugeMetricFamily("tagway_queue_full", "1 while hits are refused for want of room.", int(stats.full))
        yield GaugeMetricFamily("tagway_queue_corrupt_rows", "Rows that failed their checksum.", stats.corrupt_rows)


def _is_outcome(outcome: str, reason: str) -> bool:
    """The store may count other things beside outcomes (what was logged, what came late)."""
    return outcome in Outcome.__members__.values() and reason in REASONS[Outcome(outcome)]
