"""Running a golden case of tests/golden/receive: a hit through decode, normalise and enrich, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from gateway.clock import iso
from gateway.enrich import enrich
from gateway.errors import Refused
from gateway.normalise import normalise
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.routes import DIALECTS

RECEIVED = 1795514400.5
"""2026-11-24T10:00:00.500Z"""
_DEFAULTS = {
    "json": {"method": "POST", "route": "/v1/events"},
    "pixel": {"method": "GET", "route": "/p.gif"},
    "segment": {"method": "POST", "route": "/v1/track"},
    "ga4": {"method": "POST", "route": "/g/collect"},
    "snowplow": {"method": "POST", "route": "/com.snowplowanalytics.snowplow/tp2"},
    "data_tag": {"method": "POST", "route": "/data"},
    "meta_pixel": {"method": "GET", "route": "/tr"},
    **{
        shop: {"method": "POST", "route": f"/hooks/{shop}/{{source}}", "server": True}
        for shop in ("shopify", "woocommerce", "stripe")
    },
}
_TOPIC = {"shopify": "x-shopify-topic", "woocommerce": "x-wc-webhook-topic"}
_THE_SAME = {"v": 1, "time": iso(RECEIVED), "received": iso(RECEIVED), "source": "shop"}
OURS = "<ours>"
_ROWS = {path: row for row in DIALECTS for path in (row.path, *row.also)}


def read(hit: Hit) -> list[RawEvent | Refused]:
    """The events of a hit, as the row of its route reads them."""
    return _ROWS[hit.route].read(hit)


DECODERS: dict[str, Callable[[Hit], list[RawEvent | Refused]]] = dict.fromkeys(_DEFAULTS, read)


def hit(dialect: str, given: dict[str, Any]) -> Hit:
    """The hit of a case: `body` is JSON, `text` is a body as it stands; `headers` with browser names make a browser.

    `topic` stands in the header in which the dialect has it.
    """
    fields = {**_DEFAULTS[dialect], **given}
    body = fields.pop("text", None)
    raw = body.encode() if body is not None else orjson.dumps(fields["body"]) if "body" in fields else b""
    fields.pop("body", None)
    headers = fields.setdefault("headers", {})
    if "topic" in fields:
        headers[_TOPIC[dialect]] = fields.pop("topic")
    browser = any(name in headers for name in ("origin", "referer", "cookie", "sec-fetch-site"))
    return Hit(**{"query": "", "body": raw, "source": "shop", "received": RECEIVED, "browser": browser, **fields})


def run(dialect: str, given: dict[str, Any]) -> dict[str, Any]:
    """What became of the hit: `events` (without what every event of these cases has), or `refused` for all of it."""
    request = hit(dialect, given)
    try:
        raws = DECODERS[dialect](request)
    except Refused as refused:
        return {"refused": f"{refused.reason}: {refused.detail}"}
    return {"events": [_one(raw, request) for raw in raws]}


def _one(raw: RawEvent | Refused, request: Hit) -> dict[str, Any]:
    result = raw if isinstance(raw, Refused) else normalise(raw, request, RECEIVED)
    if isinstance(result, Refused):
        return {"refused": f"{result.reason}: {result.detail}"}
    event = orjson.loads(orjson.dumps(enrich(result.data, request)))
    if not result.client_id:
        event["id"] = OURS
    shown = {key: value for key, value in event.items() if _THE_SAME.get(key) != value and key != "dialect"}
    return {**shown, "dropped": list(result.dropped)} if result.dropped else shown
