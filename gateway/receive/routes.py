"""The table of routes, and how a path finds its row.

A dialect is one row: where its hits come, the function that reads them, and what its clients are told. Rows of dialects
are DIALECTS below; what else the door answers (health, consent choices, SDK settings) are Service rows made by the door.
A row's path may hold one `{name}`, which stands for one path segment and is handed to the row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from gateway.config.models import Paths
from gateway.errors import ConfigErrors, Problem, Refused
from gateway.links import Kind
from gateway.receive import (
    data_tag,
    ga4,
    ga4_mp,
    json,
    mail,
    meta_pixel,
    pixel,
    segment,
    shopify,
    signatures,
    snowplow,
    stripe,
    woocommerce,
)
from gateway.receive.forms import is_prefetch
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.linked import NOWHERE
from gateway.receive.replies import DATA_TAG, GA4, HOOK, IMAGE, NATIVE, SEGMENT, SNOWPLOW, SNOWPLOW_IMAGE, Answers, Reply
from gateway.receive.sources import body_key, data_key

if TYPE_CHECKING:
    from gateway.receive.visit import Visit

Decode = Callable[[Hit], list[RawEvent | Refused]]
InnerKey = Callable[[bytes, str], str | None]
NamedBy = Callable[[str], tuple[str | None, str | None]]
Alias = Literal["events", "pixel", "tag"]
READ = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What all rows have. `path` is also the metric label and `Hit.route`; `also` are other spellings of it.

    A row that `yields` gives its path under a prefix away to a neutral name.
    """

    path: str
    methods: tuple[str, ...]
    also: tuple[str, ...] = ()
    alias: Alias | None = None
    yields: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect(Route):
    """A row whose requests are hits.

    `inner_key` finds a write key in (body, query) when none stands outside; `json` bodies are checked for depth first.
    `named_by` finds in the query what counts as the key only where it is one of ours, and the measurement id, which may
    name the source (`ga4_ids`). With `loose` an inner key that is nobody's names nobody, instead of being refused.
    `signed` checks the signature of a shop's webhook: such a row's path names the source in its `{source}`, and neither
    key nor Host nor Origin is asked.
    `link` is the kind of an e-mail's link: such a row's path holds its token, which names the source and is what is decoded.
    `image` are the answers to GET where they differ.
    """

    decode: Decode
    answers: Answers
    json: bool = False
    inner_key: InnerKey | None = None
    named_by: NamedBy | None = None
    loose: bool = False
    signed: signatures.Check | None = None
    link: Kind | None = None
    image: Answers | None = None

    @property
    def shop(self) -> str:
        """Of a signed row the shop: the segment before `{source}`."""
        return self.path.split("/")[2]

    def read(self, hit: Hit) -> list[RawEvent | Refused]:
        """The events of a hit; none of one that a browser only made ahead of a visit. Raises Refused.

        Of an e-mail's links the decoder decides: an image that was fetched ahead is an open by a machine.
        """
        return [] if self.is_ahead(hit) else self.decode(hit)

    def is_ahead(self, hit: Hit) -> bool:
        """Whether a browser says that nobody has looked at the page yet. A server has no such headers of its own."""
        return self.link is None and not hit.server and is_prefetch(hit)

    def answers_to(self, method: str) -> Answers:
        """What the client of a request is told."""
        return self.image if self.image is not None and method in READ else self.answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Route):
    """A row that answers by itself; `public` may be read by pages of any origin, without credentials."""

    answer: Callable[[Visit], Awaitable[Reply]]
    public: bool = False


Row = Dialect | Service


def _body_key(body: bytes, _query: str) -> str | None:
    return body_key(body)


def _posted(path: str, decode: Decode, answers: Answers, *also: str, alias: Alias | None = None) -> Dialect:
    """A row for JSON bodies that may hold their own write key."""
    return Dialect(
        path=path, methods=("POST",), also=also, alias=alias, decode=decode, answers=answers, json=True, inner_key=_body_key
    )


_GA4 = (*READ, "POST")


def _snowplow(path: str, *methods: str) -> Dialect:
    """A row for Snowplow's trackers, which can name their source by app id alone."""
    return Dialect(
        path=path,
        methods=methods,
        decode=snowplow.decode,
        answers=SNOWPLOW,
        image=SNOWPLOW_IMAGE,
        json=True,
        inner_key=snowplow.app_id,
        loose=True,
        yields=path == "/i",
    )


def _hook(shop: str, decode: Decode, signed: signatures.Check) -> Dialect:
    """A row for a shop's signed webhooks."""
    return Dialect(path=f"/hooks/{shop}/{{source}}", methods=("POST",), decode=decode, answers=HOOK, json=True, signed=signed)


DIALECTS: tuple[Dialect, ...] = (
    Dialect(path="/g/collect", methods=_GA4, decode=ga4.decode, answers=GA4, named_by=ga4.named_by),
    Dialect(path="/mp/collect", methods=("POST",), decode=ga4_mp.decode, answers=GA4, json=True, named_by=ga4_mp.named_by),
    Dialect(path="/collect", methods=_GA4, also=("/j/collect", "/r/collect"), decode=ga4.switched_off, answers=GA4),
    _posted("/v1/events", json.decode, NATIVE, alias="events"),
    Dialect(path="/p.gif", methods=READ, alias="pixel", decode=pixel.decode, answers=IMAGE),
    _posted("/v1/track", segment.decode, SEGMENT, "/v1/t"),
    _posted("/v1/page", segment.decode, SEGMENT, "/v1/p"),
    _posted("/v1/screen", segment.decode, SEGMENT, "/v1/s"),
    _posted("/v1/identify", segment.decode, SEGMENT, "/v1/i"),
    _posted("/v1/group", segment.decode, SEGMENT, "/v1/g"),
    _posted("/v1/alias", segment.decode, SEGMENT, "/v1/a"),
    _posted("/v1/batch", segment.decode, SEGMENT, "/v1/b", "/beacon/v1/batch"),
    _posted("/v1/import", segment.decode, SEGMENT),
    *(
        Dialect(
            path=f"/v1/pixel/{call}",
            methods=READ,
            decode=segment.decode,
            answers=IMAGE,
            inner_key=lambda _body, query: data_key(query),
        )
        for call in ("track", "page", "screen", "identify", "group", "alias")
    ),
    _snowplow("/i", *READ),
    _snowplow("/com.snowplowanalytics.snowplow/tp2", *READ, "POST"),
    Dialect(
        path="/data",
        methods=(*READ, "POST"),
        decode=data_tag.decode,
        answers=DATA_TAG,
        image=IMAGE,
        json=True,
        inner_key=data_tag.key,
    ),
    _hook("shopify", shopify.decode, signatures.shopify),
    _hook("woocommerce", woocommerce.decode, signatures.woocommerce),
    _hook("stripe", stripe.decode, signatures.stripe),
    Dialect(path="/o/{token}.gif", methods=READ, decode=mail.decode_open, answers=IMAGE, link="open"),
    Dialect(path="/c/{token}", methods=READ, decode=mail.decode_click, answers=NOWHERE, link="click"),
    Dialect(path="/tr", methods=(*READ, "POST"), decode=meta_pixel.decode, answers=IMAGE),
)


class Table:
    """Rows by path: default paths, the same under each `paths.prefix`, and the neutral names of `paths`.

    >>> Table(DIALECTS, [Paths(prefix="/m", events="e")]).find("/m/e?k=wk_shop")   # → the row of /v1/events

    Raises ConfigErrors when a neutral name is taken by another row.
    """

    def __init__(self, routes: Iterable[Row], paths: Sequence[Paths] = ()) -> None:
        self._exact: dict[str, Row] = {}
        self._patterns: list[tuple[str, str, Row]] = []
        self._problems: list[Problem] = []
        rows = list(routes)
        for prefix in dict.fromkeys(["", *(_prefix(one) for one in paths)]):
            for route in rows:
                for path in (route.path, *route.also):
                    self._add(prefix + path, route)
        for one in paths:
            for route in rows:
                name = getattr(one, route.alias) if route.alias else None
                if name:
                    self._add(f"{_prefix(one)}/{name.strip('/')}", route)
        if self._problems:
            raise ConfigErrors(self._problems)

    def find(self, target: str) -> tuple[Row | None, str, str]:
        """(row, segment that its `{name}` stands for, raw query) of a request target; None where there is none."""
        path, _, query = target.partition("?")
        route = self._exact.get(path)
        if "#" in target:
            path, query = path.partition("#")[0], query.partition("#")[0]
        return (route, "", query) if route is not None else (*self._search(path), query)

    def _search(self, path: str) -> tuple[Row | None, str]:
        if not path.startswith("/"):
            _, found, rest = path.partition("://")
            path = "/" + rest.partition("/")[2] if found else path
        path = unquote(path, errors="replace")
        path = path.rstrip("/") or path
        route = self._exact.get(path)
        if route is not None:
            return route, ""
        for start, end, pattern in self._patterns:
            segment_ = path[len(start) : len(path) - len(end)]
            if path.startswith(start) and path.endswith(end) and segment_ and "/" not in segment_:
                return pattern, segment_
        return None, ""

    def _add(self, path: str, route: Row) -> None:
        if "{" in path:
            start, _, rest = path.partition("{")
            self._patterns.append((start, rest.partition("}")[2], route))
            return
        other = self._exact.setdefault(path, route)
        if other.yields and path != other.path:
            self._exact[path] = route
        elif other is not route:
            self._problems.append(Problem(f"paths: {path} is the path of {other.path} already and cannot be {route.path} too"))


def _prefix(paths: Paths) -> str:
    name = paths.prefix.strip("/")
    return f"/{name}" if name else ""
