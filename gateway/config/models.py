"""What a customer may write, with every default (design §4). Loading, secrets and messages: gateway/config/load.py.

Durations are seconds (`7d`, `72h`, `250ms` in YAML), sizes are bytes (`20GB`).
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema

from gateway.config.addresses import base_url, host, is_loopback, listen_address, measurement_id, origin, url_path, write_key
from gateway.errors import Problem

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SignalKind = Literal["event", "tcf", "gpp", "gcs", "cmp_cookie", "own"]
PROXY_NAMES = ("private", "cloudflare", "cloudfront")


def duration(value: Any) -> Any:
    """`7d` → 604800.0. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", value.strip())
    if not match:
        raise ValueError("must be a duration such as 30s, 15m, 72h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def size(value: Any) -> Any:
    """`20GB` → 20000000000. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)", value.strip())
    if not match or match[2] not in _SIZES:
        raise ValueError("must be a size such as 512KB, 500MB or 20GB")
    return int(float(match[1]) * _SIZES[match[2]])


def age_limit(value: Any) -> Any:
    """A duration, or `off`: no limit at all (tests and back-fills), as infinity."""
    return math.inf if value == "off" else duration(value)


def _proxy(value: str) -> str:
    if value not in PROXY_NAMES:
        try:
            ipaddress.ip_network(value)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(PROXY_NAMES)} or a network such as 10.0.0.0/8") from None
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8") from None


def _one_process(value: Any) -> Any:
    if str(value) != "0":
        raise ValueError("must be 0: this version receives in the process that owns the store")
    return 0


_DURATION_FORM = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)$"}
_SIZE_FORM = {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*[KMGT]?i?B$"}
_AGE_FORM = {"anyOf": [_DURATION_FORM, {"enum": ["off", False, None]}]}
"""How these are written, for the JSON Schema; an editor reads `off` as false."""

Seconds = Annotated[float, BeforeValidator(duration), Field(ge=0), WithJsonSchema(_DURATION_FORM)]
Bytes = Annotated[int, BeforeValidator(size), Field(ge=0), WithJsonSchema(_SIZE_FORM)]
MaxAge = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=True)] | None, BeforeValidator(age_limit), WithJsonSchema(_AGE_FORM)
]
Address = Annotated[str, AfterValidator(listen_address)]
Host = Annotated[str, AfterValidator(host)]
Origin = Annotated[str, AfterValidator(origin)]
WriteKey = Annotated[str, AfterValidator(write_key)]
MeasurementId = Annotated[str, AfterValidator(measurement_id)]
UrlPath = Annotated[str, AfterValidator(url_path)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
Network = Annotated[str, AfterValidator(_network)]
Purpose = Literal["ad_storage", "ad_user_data", "ad_personalization", "analytics_storage", "functional"]


class Strict(BaseModel):
    """Unknown keys are errors; numbers are finite unless a field says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Admin(Strict):
    """The page, /ledger, /dlq, replay, erase, reload."""

    listen: Address = "127.0.0.1:9090"
    token: SecretStr = SecretStr("")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.listen.rpartition(":")[0])


class Metrics(Strict):
    """Prometheus, without a token and without personal data."""

    listen: Address = "127.0.0.1:9464"


class GeoHeaders(Strict):
    """Where a trusted proxy says the country stands."""

    country_header: str | None = None
    region_header: str | None = None


class Paths(Strict):
    """Neutral aliases beside the default routes: `{prefix}/{events}` and so on."""

    prefix: UrlPath = ""
    events: UrlPath | None = None
    pixel: UrlPath | None = None
    tag: UrlPath | None = None


class Window(Strict):
    """An age limit has a byte limit beside it."""

    age: Seconds = 7 * 86400.0
    bytes: Bytes = 20 * 10**9


class Queue(Strict):
    """The durable store."""

    kind: Literal["sqlite"] = "sqlite"
    path: str = "../data"
    retention: Window = Window()
    personal: Seconds = 72 * 3600.0
    ack: Literal["durable", "written"] = "durable"
    firings: Window = Window(age=3 * 86400.0, bytes=2 * 10**9)
    ballast: Bytes = 64 * 10**6


class SourceConsent(Strict):
    """Where a grant may come from and what silence means (specs/ingest/consent.md §7, §8)."""

    read: list[SignalKind] = ["event", "tcf", "gpp", "gcs", "cmp_cookie", "own"]
    unknown: Literal["denied", "jurisdiction"] = "denied"
    jurisdiction: Literal["auto", "opt_in", "opt_out", "none"] = "auto"
    categories: dict[str, list[Purpose]] = {}


class SourceLimits(Strict):
    """Hits per second and burst, per source and per client address of it; None is no limit."""

    rps: float | None = Field(default=None, gt=0)
    burst: int | None = Field(default=None, gt=0)
    ip_rps: float | None = Field(default=None, gt=0)
    ip_burst: int | None = Field(default=None, gt=0)


class Source(Strict):
    """A site, app or tenant.

    `ga4_ids` are the measurement ids (`G-…`) and Firebase app ids of its GA4 hits: one names the source like a write key,
    and where any is listed hits of others are refused.
    """

    hosts: list[Host] = []
    origins: list[Origin] = []
    write_keys: list[WriteKey] = []
    server_keys: list[SecretStr] = []
    ga4_ids: list[MeasurementId] = []
    consent: SourceConsent = SourceConsent()
    limits: SourceLimits = SourceLimits()
    paths: Paths | None = None


class DestinationConsent(Strict):
    """What this destination needs; None keeps the manifest's."""

    requires: list[Purpose] | None = None
    on_denied: Literal["skip", "anonymous"] = "skip"
    on_opt_out: Literal["skip", "limit"] = "skip"
    tcf_vendor: int | None = Field(default=None, ge=1)
    purposes_only: bool = False


class Bots(Strict):
    """Events scored above are `skipped{bot}`."""

    max_score: int = Field(default=50, ge=0, le=100)


class DestinationLimits(Strict):
    """Narrows the manifest. `max_age`: None keeps the vendor's, `off` (infinity) lifts it, for tests and back-fills."""

    max_age: MaxAge = None
    rps: float | None = Field(default=None, gt=0)
    concurrency: int = Field(default=8, ge=1, le=256)

    def oldest(self, vendor: float | None) -> float:
        """Seconds after which an event is too old, given the vendor's own limit (None: it has none); infinity for never."""
        if self.max_age == math.inf:
            return math.inf
        return min(limit for limit in (self.max_age, vendor, math.inf) if limit is not None)


class BatchLimits(Strict):
    """Narrows the manifest's batch; `wrap`, the envelope's shape, stays a marked tree."""

    max_events: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)
    max_wait_ms: int | None = Field(default=None, ge=0)
    wrap: Any = None


class DestinationConfig(Strict):
    """One destination file.

    `defaults`, `blocks`, `tables`, `events`, `when` and `batch.wrap` stay marked trees (gateway/config/tree.py) and are
    merged and compiled by gateway/mapping; `tree` is the whole file. `settings` is checked against the manifest's own model
    and holds what was given or has a default, secrets as SecretStr.
    """

    name: str
    type: str
    file: str
    sources: list[str]
    mode: Literal["live", "test", "dry_run", "off"] = "live"
    share: float = Field(default=100, ge=0, le=100)
    settings: dict[str, Any] = {}
    consent: DestinationConsent = DestinationConsent()
    bots: Bots = Bots()
    unlisted: Literal["skip", "send"] | None = None
    when: Any = None
    limits: DestinationLimits = DestinationLimits()
    batch: BatchLimits = BatchLimits()
    endpoint: BaseUrl | None = None
    allow_private: list[Network] = []
    allow_http: bool = False
    defaults: Any = None
    blocks: Any = None
    tables: Any = None
    events: Any = None
    tree: Any = None


@dataclass(frozen=True, slots=True)
class Held:
    """A source or destination that was left out because of its errors (`config_errors: hold`)."""

    kind: Literal["source", "destination"]
    name: str
    problems: tuple[Problem, ...]


class Gateway(Strict):
    """The whole configuration as loaded: gateway.yaml with its sources and destinations.

    `hash` is over the bytes of every file read (secret files excepted), `files` are these, secret files and the folders that
    were listed: what a watcher must look at. `held` is empty unless `config_errors: hold` left something out.
    """

    file: str
    hash: str = ""
    files: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    listen: Address = "0.0.0.0:8080"
    admin: Admin = Admin()
    metrics: Metrics = Metrics()
    trusted_proxies: list[Annotated[str, BeforeValidator(_proxy)]] = []
    geo: GeoHeaders = GeoHeaders()
    workers: Annotated[int, BeforeValidator(_one_process)] = 0
    paths: Paths = Paths()
    queue: Queue = Queue()
    config_errors: Literal["refuse", "hold"] = "refuse"
    sources: dict[str, Source]
    destinations: dict[str, DestinationConfig] = {}
    lab: bool = False
