"""The canonical event, version 1: the one type every stage shares (design §2).

An event is a JSON object. The shape below is written as typed dictionaries so that one pydantic-core call validates a
hit into plain dictionaries that mappings read and orjson stores, with no model object in between. Absent keys are absent,
never null. Stored events are never rewritten: `load()` lifts an older version by one pure function per step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Required

import orjson
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, with_config
from typing_extensions import TypedDict

VERSION = 1
CUSTOM = "custom"
"""The label of every event name outside CANONICAL_NAMES: metric labels are a closed set."""

CANONICAL_NAMES = frozenset(
    """page_view screen_view view_item view_item_list select_item view_promotion select_promotion view_cart search
    add_to_cart remove_from_cart add_to_wishlist remove_from_wishlist begin_checkout checkout_progress add_payment_info
    add_shipping_info purchase refund order_updated order_cancelled sign_up login generate_lead qualify_lead
    close_convert_lead subscribe start_trial contact schedule share identify group alias email_open email_click click
    form_submit scroll user_engagement session_start first_visit file_download view_search_results donate find_location
    submit_application customize_product""".split()
)
"""GA4's e-commerce and lead vocabulary and the events our dialects make; anything else is a custom event."""

PURPOSES = ("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage", "functional")
"""The purposes of the consent block."""


Text = Annotated[
    str, Field(coerce_numbers_to_str=True), StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)
]
"""Numbers become text (ids arrive as numbers); booleans, maps and lists do not."""
Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8192)]
Number = Annotated[
    Annotated[int, Field(strict=True, ge=-(10**12), le=10**12)]
    | Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)],
    Field(union_mode="left_to_right"),
]
"""Bounds stand on the branches: on the union they would run as Python functions, at several times the cost."""
Flag = bool
Choice = Literal["granted", "denied", "unknown"]
Currency = Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^\s*[A-Za-z]{3}\s*$")]
Instant = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
Free = dict[str, Any]

_OPEN = ConfigDict(extra="allow")
_CLOSED = ConfigDict(extra="ignore")


@with_config(_CLOSED)
class User(TypedDict, total=False):
    """Who: personal data as it came (raw or hashed), never altered here."""

    id: Text
    anonymous_id: Text
    email: Text | list[Text]
    phone: Text | list[Text]
    first_name: Text
    last_name: Text
    street: Text
    city: Text
    state: Text
    zip: Text
    country: Text
    birthdate: Text
    gender: Text
    traits: Free


@with_config(_CLOSED)
class Page(TypedDict, total=False):
    """Where on the site."""

    url: Url
    title: Text
    referrer: Url


@with_config(_CLOSED)
class Device(TypedDict, total=False):
    """What the visitor used; `ip` and `user_agent` are the visitor's, never the gateway's."""

    ip: Text
    user_agent: Text
    language: Text
    timezone: Text
    screen_width: Number
    screen_height: Number
    viewport_width: Number
    viewport_height: Number
    type: Text
    os: Text
    os_version: Text
    browser: Text
    id: Text
    model: Text
    manufacturer: Text
    advertising_id: Text
    ad_tracking: Flag


@with_config(_CLOSED)
class Geo(TypedDict, total=False):
    """Country ISO 3166-1 alpha-2, region ISO 3166-2 without the country, city as text."""

    country: Text
    region: Text
    city: Text


@with_config(_CLOSED)
class Campaign(TypedDict, total=False):
    """UTM values."""

    source: Text
    medium: Text
    name: Text
    term: Text
    content: Text
    id: Text
    source_platform: Text
    creative_format: Text
    marketing_tactic: Text


@with_config(_OPEN)
class Ids(TypedDict, total=False):
    """Cookies and click ids, each as it came; other vendors' ids are kept under their own snake_case name."""

    fbp: Text
    fbc: Text
    fbclid: Text
    ga_client_id: Text
    ga_session_id: Text
    gclid: Text
    gbraid: Text
    wbraid: Text
    ttclid: Text
    ttp: Text


@with_config(_CLOSED)
class Session(TypedDict, total=False):
    """`id` is the decimal epoch second of the session's start."""

    id: Text
    number: Number
    started: Instant


@with_config(_OPEN)
class Props(TypedDict, total=False):
    """What happened; the named keys are canonical, any other is the site's own."""

    value: Number
    currency: Currency
    transaction_id: Text
    tax: Number
    shipping: Number
    coupon: Text
    search_term: Text
    method: Text


@with_config(_OPEN)
class Item(TypedDict, total=False):
    """One line of a cart or order."""

    id: Text
    name: Text
    brand: Text
    category: Text
    category2: Text
    variant: Text
    price: Number
    quantity: Number
    discount: Number
    coupon: Text
    list: Text
    index: Number


@with_config(_CLOSED)
class Consent(TypedDict, total=False):
    """What the visitor allows: specs of each field in docs/concepts.md.

    `categories` is what a consent tool said in its own words (`{"C0004": false}`); it is read with the source's table
    `consent.categories` and is not part of a decision. `tcf` and `gpp` hold the IAB's strings.
    """

    ad_storage: Choice
    ad_user_data: Choice
    ad_personalization: Choice
    analytics_storage: Choice
    functional: Choice
    sale_opt_out: Flag
    jurisdiction: Literal["opt_in", "opt_out", "none", "unknown"]
    explicit: Flag
    categories: dict[str, Flag]
    sources: list[Free]
    tcf: Free
    gpp: Free


@with_config(_CLOSED)
class Bot(TypedDict, total=False):
    """0 is a person, 100 is certainly a bot."""

    score: Annotated[int, Field(ge=0, le=100)]
    reasons: list[str]


@with_config(_CLOSED)
class App(TypedDict, total=False):
    """The app that sent the event."""

    name: Text
    version: Text
    build: Text
    namespace: Text


@with_config(_CLOSED)
class EventDict(TypedDict, total=False):
    """The stored JSON object. Required: v id name time received source dialect."""

    v: Required[Literal[1]]
    id: Required[Annotated[str, StringConstraints(min_length=1, max_length=200)]]
    name: Required[Annotated[str, StringConstraints(min_length=1, max_length=200)]]
    time: Required[Instant]
    received: Required[Instant]
    source: Required[str]
    dialect: Required[str]
    user: User
    page: Page
    device: Device
    geo: Geo
    campaign: Campaign
    ids: Ids
    session: Session
    engagement_ms: Number
    props: Props
    items: Annotated[list[Item], Field(max_length=1000)]
    consent: Consent
    bot: Bot
    app: App
    integrations: dict[str, bool]
    raw: Free


SECTIONS = ("user", "page", "device", "geo", "campaign", "ids", "session", "props", "consent", "bot", "app", "raw")
"""The parts that are maps."""


@cache
def adapter() -> TypeAdapter[EventDict]:
    """The compiled validator (built on first use: 10 ms)."""
    return TypeAdapter(EventDict)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the canonical event: `tagway schema event`."""
    schema = adapter().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Tagway event", **schema}


@dataclass(slots=True)  # not frozen, which takes three times as long: one is made per event
class Event:
    """A valid canonical event. `data` is shared and must not be changed; a stage that adds makes a new one.

    >>> event = Event(data)
    >>> event.get("props", "value")
    """

    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The id the vendors get."""
        value: str = self.data["id"]
        return value

    @property
    def name(self) -> str:
        """Canonical or custom name."""
        value: str = self.data["name"]
        return value

    @property
    def source(self) -> str:
        """The configured source it came in through."""
        value: str = self.data["source"]
        return value

    @property
    def label(self) -> str:
        """The name as a closed label: canonical, or `custom`."""
        return label(self.name)

    def get(self, section: str, key: str) -> Any:
        """`event.get("user", "email")`: None when the section or the key is absent."""
        return self.data.get(section, {}).get(key)

    def dumps(self) -> bytes:
        """The stored form."""
        return orjson.dumps(self.data)


def label(name: str) -> str:
    """An event name as a metric label: itself when canonical, else `custom`."""
    return name if name in CANONICAL_NAMES else CUSTOM


_LIFT: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""version n → pure function to version n + 1."""


class EventTooNew(ValueError):
    """A stored event of a version this program does not know."""


def load(body: bytes) -> Event:
    """A stored event, lifted to the current version. Raises ValueError (EventTooNew for one of a newer program)."""
    data = orjson.loads(body)
    version = data["v"]
    while version < VERSION:
        data, version = _LIFT[version](data), version + 1
    if version > VERSION:
        raise EventTooNew(f"event version {version}; this program reads up to {VERSION}")
    return Event(data)


MOST_SHARED = 512
LARGEST_SHARED = 4096
"""Bytes up to which an event is shared, so that all of them stay small."""
_SHARED: dict[bytes, Event] = {}


def shared(body: bytes) -> Event:
    """As `load`, and of the newest events the same object for everyone who reads their bytes: lanes that keep pace."""
    event = _SHARED.get(body)
    if event is None:
        event = load(body)
        _share(body, event)
    return event


def hand_over(body: bytes, data: dict[str, Any]) -> None:
    """Let `shared` give what a body was just written from. `data` must be what reading the body would give."""
    _share(body, Event(data))


def _share(body: bytes, event: Event) -> None:
    if len(body) > LARGEST_SHARED:
        return
    if len(_SHARED) >= MOST_SHARED:
        del _SHARED[next(iter(_SHARED))]
    _SHARED[body] = event


def uuid7(now: float | None = None) -> str:
    """A time-ordered UUID (RFC 9562 §5.7) for hits that carry no id."""
    ms = int((time.time() if now is None else now) * 1000)
    bits = int.from_bytes(os.urandom(10), "big")
    value = (ms & (1 << 48) - 1) << 80 | 7 << 76 | (bits >> 68 & 0xFFF) << 64 | 2 << 62 | bits & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
