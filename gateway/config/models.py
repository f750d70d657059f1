"""What a customer may write, with every default. Loading, secrets and messages: gateway/config/load.py.

Each key says in its `description` what it does: editors show it, and docs/configuration.md is made of it.

Durations are seconds (`7d`, `72h`, `250ms` in YAML), sizes are bytes (`20GB`).
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from gateway.config.addresses import base_url, host, is_loopback, listen_address, measurement_id, origin, url_path, write_key
from gateway.config.hooks import Hooks
from gateway.config.identity import Identity
from gateway.config.links import Links
from gateway.config.lookups import BotFiles, Geo
from gateway.config.strict import Strict
from gateway.errors import Problem

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SignalKind = Literal["event", "tcf", "gpp", "gcs", "cmp_cookie", "own"]
ConsentTool = Literal[
    "auto", "onetrust", "cookiebot", "didomi", "trustarc", "cookieyes", "complianz", "axeptio", "iubenda", "klaro", "borlabs",
    "cookie_law_info", "orestbida", "cookiefirst", "shopify", "osano",
]  # fmt: skip
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


def _date(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a date such as 2026-11-24") from None
    return value


Day = Annotated[date, BeforeValidator(_date)]
Purpose = Literal["ad_storage", "ad_user_data", "ad_personalization", "analytics_storage", "functional"]


class Admin(Strict):
    """The page, /ledger, /dlq, replay, erase, reload."""

    listen: Address = Field(
        default="127.0.0.1:9090", description="host:port of the admin listener; beyond loopback it needs `token`"
    )
    token: SecretStr = Field(
        default=SecretStr(""), description="what callers send as `Authorization: Bearer …`; a reference, never written out"
    )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.listen.rpartition(":")[0])


class Metrics(Strict):
    """Prometheus, without a token and without personal data."""

    listen: Address = Field(default="127.0.0.1:9464", description="host:port of `/metrics`; needs a restart to change")


class Paths(Strict):
    """Neutral aliases beside the default routes: `{prefix}/{events}` and so on."""

    prefix: UrlPath = Field(
        default="", description="put before every route, which keeps its default path too: `/m` makes `/m/v1/events`"
    )
    events: UrlPath | None = Field(default=None, description="another name for `/v1/events`, after the prefix")
    pixel: UrlPath | None = Field(default=None, description="another name for `/p.gif`, after the prefix")
    tag: UrlPath | None = Field(default=None, description="another name for `/tag.js`, after the prefix")


class Window(Strict):
    """An age limit has a byte limit beside it."""

    age: Seconds = Field(default=7 * 86400.0, description="how long")
    bytes: Bytes = Field(default=20 * 10**9, description="how much")


class Queue(Strict):
    """The durable store."""

    kind: Literal["sqlite"] = Field(default="sqlite", description="the store; this version has one")
    path: str = Field(default="../data", description="folder of the store, on a local disk; network file systems are refused")
    retention: Window = Field(
        default=Window(),
        description="what the log keeps; what falls off unsettled ends as `expired{retention}` or `expired{space}`",
    )
    personal: Seconds = Field(
        default=72 * 3600.0, description="after this time settled events lose user, device, ids and the queries of URLs"
    )
    ack: Literal["durable", "written"] = Field(
        default="durable",
        description="`durable`: answer once the commit is synced; `written`: once the system has it, synced within 50 ms",
    )
    firings: Window = Field(
        default=Window(age=3 * 86400.0, bytes=2 * 10**9),
        description="how long and how much of the record of requests to vendors is kept",
    )
    ballast: Bytes = Field(
        default=64 * 10**6,
        description="bytes held back on the disk, freed when it is full so that outcomes can still be written",
    )


class SourceConsent(Strict):
    """Where a grant may come from and what silence means (gateway/consent)."""

    read: list[SignalKind] = Field(
        default=["event", "tcf", "gpp", "gcs", "cmp_cookie", "own"],
        description="where a grant may come from; refusals and opt-outs are read wherever they stand",
    )
    unknown: Literal["denied", "jurisdiction"] = Field(
        default="denied",
        description="what silence means: `denied`, or `jurisdiction`: as the law of the visitor's country has it",
    )
    jurisdiction: Literal["auto", "opt_in", "opt_out", "none"] = Field(
        default="auto", description="`auto`: by the visitor's country; or the same for everybody"
    )
    categories: dict[str, list[Purpose]] = Field(
        default_factory=dict,
        description="purposes of a consent tool's categories, services or vendors by their name; the usual ones are known",
    )
    cmp: ConsentTool = Field(
        default="auto", description="the consent tool whose cookie is read; `auto`: the newest of those that are there"
    )


class SourceLimits(Strict):
    """Hits per second and burst, per source and per client address of it; None is no limit."""

    rps: float | None = Field(default=None, gt=0, description="hits per second of the source")
    burst: int | None = Field(default=None, gt=0, description="hits at once of the source")
    ip_rps: float | None = Field(default=None, gt=0, description="hits per second of one client address (of one /64 with IPv6)")
    ip_burst: int | None = Field(default=None, gt=0, description="hits at once of one client address")


class Source(Strict):
    """A site, app or tenant.

    `ga4_ids` are the measurement ids (`G-…`) and Firebase app ids of its GA4 hits: one names the source like a write key,
    and where any is listed hits of others are refused.
    """

    hosts: list[Host] = Field(
        default_factory=list,
        description="host names of the gateway that belong to this source; without a key the Host names it",
    )
    origins: list[Origin] = Field(
        default_factory=list,
        description="origins of its pages exactly as browsers send them; an Origin that is not listed is refused",
    )
    write_keys: list[WriteKey] = Field(
        default_factory=list, description="public keys: they stand in the page and only name the source"
    )
    server_keys: list[SecretStr] = Field(
        default_factory=list, description="secret keys, as references: who has one may say whose address and agent a hit has"
    )
    ga4_ids: list[MeasurementId] = Field(
        default_factory=list,
        description="measurement ids and Firebase app ids of its GA4 hits; where any is listed hits of others are refused",
    )
    hooks: Hooks = Field(default=Hooks(), description="shops whose webhooks are taken, each with its secret")
    links: Links = Field(default=Links(), description="links in e-mails: opens and clicks")
    identity: Identity = Field(default=Identity(), description="first-party cookies by which visitors are known again")
    null_origin: bool = Field(
        default=False,
        description="take hits of sandboxed frames, which send `Origin: null`: Shopify's custom pixels; they read no answer",
    )
    consent: SourceConsent = Field(default=SourceConsent(), description="where grants come from and what silence means")
    limits: SourceLimits = Field(default=SourceLimits(), description="rates; none by default")
    paths: Paths | None = Field(default=None, description="further neutral names; a path names a route, never the source")


class DestinationConsent(Strict):
    """What this destination needs; None keeps the manifest's."""

    requires: list[Purpose] | None = Field(
        default=None, description="purposes that must all be granted; `unknown` is not; default: the manifest's"
    )
    on_denied: Literal["skip", "anonymous"] = Field(
        default="skip", description="`anonymous`: send the manifest's anonymous form, where it has one"
    )
    on_opt_out: Literal["skip", "limit"] = Field(
        default="skip", description="after an opt-out of sale: `skip`, or `limit`: send with the vendor's limited-data flag"
    )
    tcf_vendor: int | None = Field(
        default=None, ge=1, description="the vendor's id in the IAB list, where the manifest has none"
    )
    purposes_only: bool = Field(
        default=False, description="judge a TCF string by its purposes alone, for vendors that are not in the IAB list"
    )


class Bots(Strict):
    """Events scored above are `skipped{bot}`."""

    max_score: int = Field(default=50, ge=0, le=100, description="0 is a person, 100 certainly a bot; above it `skipped{bot}`")


class DestinationLimits(Strict):
    """Narrows the manifest. `max_age`: None keeps the vendor's, `off` (infinity) lifts it, for tests and back-fills."""

    max_age: MaxAge = Field(
        default=None, description="older events end as `expired{age}`; the vendor's own limit holds too, `off` lifts both"
    )
    rps: float | None = Field(default=None, gt=0, description="requests per second")
    concurrency: int = Field(default=8, ge=1, le=256, description="requests at the same time")

    def oldest(self, vendor: float | None) -> float:
        """Seconds after which an event is too old, given the vendor's own limit (None: it has none); infinity for never."""
        if self.max_age == math.inf:
            return math.inf
        return min(limit for limit in (self.max_age, vendor, math.inf) if limit is not None)


class BatchLimits(Strict):
    """Narrows the manifest's batch; `wrap`, the envelope's shape, stays a marked tree."""

    max_events: int | None = Field(default=None, ge=1, description="events in a request")
    max_bytes: int | None = Field(default=None, ge=1, description="bytes of a request")
    max_wait_ms: int | None = Field(default=None, ge=0, description="how long a request may wait to be filled")
    wrap: Any = Field(default=None, description="the shape around `$batch`, merged into the manifest's")


class DestinationConfig(Strict):
    """One destination file.

    `defaults`, `blocks`, `tables`, `events`, `when` and `batch.wrap` stay marked trees (gateway/config/tree.py) and are
    merged and compiled by gateway/mapping; `tree` is the whole file. `settings` is checked against the manifest's own model
    and holds what was given or has a default, secrets as SecretStr.
    """

    name: str
    type: str = Field(description="the vendor: a name of `tagway destinations`")
    file: str
    sources: list[str] = Field(description="sources that may send here; may be left out while there is one")
    mode: Literal["live", "test", "dry_run", "off"] = Field(
        default="live",
        description="`live`; `test`: the vendor's test facility; `dry_run`: rendered and shown, nothing leaves; `off`",
    )
    share: float = Field(default=100, ge=0, le=100, description="percent of visitors, always the same ones")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="the vendor's own: docs/destinations.md, `tagway schema destination`"
    )
    token_expires: Day | None = Field(
        default=None, description="the day the token ends, as the vendor's console says; told a week ahead, also to Prometheus"
    )
    consent: DestinationConsent = Field(default=DestinationConsent(), description="what must be granted")
    bots: Bots = Field(default=Bots(), description="which bot score is too much")
    unlisted: Literal["skip", "send"] | None = Field(
        default=None, description="events that the mapping does not list; default: `skip` for ads, `send` for others"
    )
    when: Any = Field(default=None, description="a condition; an event that does not meet it is `skipped{filter}`")
    limits: DestinationLimits = Field(default=DestinationLimits(), description="narrows the vendor's limits")
    batch: BatchLimits = Field(default=BatchLimits(), description="narrows the vendor's batches")
    endpoint: BaseUrl | None = Field(
        default=None,
        description="another base than the vendor's, scheme://host[:port][/prefix], put before the manifest's path",
    )
    transport: Literal["direct", "aiohttp"] = Field(
        default="direct",
        description="how requests leave: `direct`, the lean client; `aiohttp`, should a vendor not get on with it",
    )
    allow_private: list[Network] = Field(default_factory=list, description="private networks that this destination may reach")
    allow_http: bool = Field(default=False, description="whether plain http will do")
    defaults: Any = Field(default=None, description="merged into the manifest's `defaults`: fields of every event")
    blocks: Any = Field(default=None, description="merged into the manifest's `blocks`: shapes for `$use`")
    tables: Any = Field(default=None, description="merged into the manifest's `tables`: look-ups for `map:`")
    events: Any = Field(default=None, description="merged into the manifest's `events`; null takes an event away")
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
    listen: Address = Field(default="0.0.0.0:8080", description="host:port that takes hits; needs a restart to change")
    admin: Admin = Field(
        default=Admin(), description="the page, ledger, dead letters, replay, reload; needs a restart to change"
    )
    metrics: Metrics = Field(default=Metrics(), description="Prometheus; no token, no personal data")
    trusted_proxies: list[Annotated[str, BeforeValidator(_proxy)]] = Field(
        default_factory=list, description="whose X-Forwarded-For is believed: `private`, `cloudflare`, `cloudfront`, networks"
    )
    geo: Geo = Field(default=Geo(), description="what says where a visitor is: a trusted proxy's headers, a database")
    bots: BotFiles = Field(default=BotFiles(), description="lists that bot scores are made with")
    workers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="receiver processes beside the owner of the store; 0: one process does all; needs a restart to change",
    )
    paths: Paths = Field(default=Paths(), description="neutral names beside the default routes")
    queue: Queue = Field(default=Queue(), description="the durable store; needs a restart to change")
    config_errors: Literal["refuse", "hold"] = Field(
        default="refuse", description="`refuse` the whole configuration, or `hold` only the source or destination with errors"
    )
    sources: dict[str, Source] = Field(description="sites, apps and tenants by name, or a folder of sites")
    destinations: dict[str, DestinationConfig] = Field(
        default_factory=dict, description="a folder of `<name>.yaml` files, or destinations by name"
    )
    lab: bool = Field(default=False, description="a lab: made-up secrets may stand in the files")
