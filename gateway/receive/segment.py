"""The Segment dialect: `POST /v1/{track,page,screen,identify,group,alias,batch,import}`, their one-letter forms, and
`GET /v1/pixel/<type>?data=<base64 JSON>`.

What a call is comes from its own `type`, else from the path. Batch-level `context`, `integrations` and `sentAt` stand under
each item's own. `/v1/import` is history: its times are kept as they are. A call becomes a RawEvent in the keys of the
event schema, with properties as they came; names and shapes of the e-commerce vocabulary are translated in
`gateway.normalise.commerce`. Where a field of `context` or of the traits goes: `gateway.receive.segment_fields`.

A call without any user is taken: an order that carries an e-mail only is worth having. One bad item of a batch refuses
that item alone.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from gateway.errors import Malformed, Refused, TooLarge
from gateway.receive import segment_fields as fields
from gateway.receive.body import check_count, event_name, parse, too_large
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.pixel import parameters

_TYPES = {
    **{name: name for name in ("track", "page", "screen", "identify", "group", "alias")},
    **{"t": "track", "p": "page", "s": "screen", "i": "identify", "g": "group", "a": "alias"},
}
_NAMES = {"page": "page_view", "screen": "screen_view", "identify": "identify", "group": "group", "alias": "alias"}


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """One entry per call, in the order of the body. Raises Malformed or TooLarge where nothing can be read."""
    body = parse(_pixel_body(hit) if hit.method == "GET" else hit.body)
    if not isinstance(body, dict):
        raise Malformed("the body must be an object")
    place = hit.route.rstrip("/").rpartition("/")[2]
    if "batch" not in body:
        return [_call(body, {}, _TYPES.get(place), hit, historic=False)]
    items = body["batch"]
    if not isinstance(items, list):
        raise Malformed("batch must be a list")
    check_count(items)
    return [_call(item, body, None, hit, historic=place == "import") for item in items]


def _pixel_body(hit: Hit) -> bytes:
    text = parameters(hit.query).get("data", "").replace(" ", "+")
    try:
        return b64decode(text.translate({45: 43, 95: 47}) + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Malformed("data is not base64") from None


def _call(item: Any, batch: Mapping[str, Any], kind: str | None, hit: Hit, *, historic: bool) -> RawEvent | Refused:
    if not isinstance(item, dict):
        return Malformed("a call must be an object")
    if too_large(item, hit.body):
        return TooLarge("the event is over 64 KiB")
    given = item.get("type")
    kind = _TYPES.get(given) if isinstance(given, str) else kind
    if kind is None:
        return Malformed("the type of the call is missing or unknown")
    try:
        name = event_name(item.get("event")) if kind == "track" else _NAMES[kind]
    except Malformed as refused:
        return refused
    return _event(kind, name, _under(item, batch), historic=historic)


def _under(item: dict[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
    """The item with what the batch says once for all of them."""
    if not batch:
        return item
    merged = dict(item)
    for key in ("context", "integrations"):
        common = batch.get(key)
        if isinstance(common, dict):
            own = item.get(key)
            merged[key] = {**common, **own} if isinstance(own, dict) else common
    if item.get("sentAt") is None and batch.get("sentAt") is not None:
        merged["sentAt"] = batch["sentAt"]
    return merged


def _event(kind: str, name: str, call: dict[str, Any], *, historic: bool) -> RawEvent:
    context = fields.mapping(call.get("context"))
    props = dict(fields.mapping(call.get("properties")))
    traits, known = fields.mapping(call.get("traits")), fields.mapping(context.get("traits"))
    own = fields.first(props.pop("event_id", None), props.pop("eventId", None), traits.get("event_id"), known.get("event_id"))
    event_id = fields.first(own, call.get("messageId"))
    data = fields.from_context(context)
    if kind == "group":
        props = {**traits, **props}
        traits = {}
    _named(kind, call, props)
    user = fields.user({**known, **traits}, call, props)
    fields.move_page(kind, props, data)
    fields.drop_direct(data)
    fields.move_ids(props, data)
    fields.from_integrations(call.get("integrations"), data)
    channel = call.get("channel")
    if isinstance(channel, str) and channel:
        data.setdefault("raw", {})["channel"] = channel
    if kind == "track" and name in _NAMES.values():
        data.setdefault("raw", {})["call"] = kind  # only named like another kind of call
    if user:
        data["user"] = user
    if props:
        data["props"] = props
    moment = fields.first(call.get("timestamp"), call.get("originalTimestamp"))
    return RawEvent("segment", name, data, id=event_id, time=moment, sent_at=call.get("sentAt"), historic=historic)


def _named(kind: str, call: dict[str, Any], props: dict[str, Any]) -> None:
    """What a call says beside its properties goes among them."""
    context = fields.mapping(call.get("context"))
    if kind in ("page", "screen"):
        for key in ("name", "category"):
            if props.get(key) in (None, "") and call.get(key) is not None:
                props[key] = call[key]
    if (group := fields.first(call.get("groupId"), context.get("groupId"))) is not None:
        props["group_id"] = group
    if kind == "alias":
        previous = fields.first(call.get("previousId"), call.get("from"), call.get("anonymousId"))
        if previous is not None:
            props["previous_id"] = previous
