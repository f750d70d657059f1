"""A case's directives (`@path`, `@template`, `@if`, `@arrayPath`) as expressions and shapes of our mapping language.

A path into the incoming event becomes a path into the canonical one. Where decoding moves a field, the moved place stands
second (`$props.query // $props.search_term`), so that one rule serves every event.
"""

from __future__ import annotations

import re
from typing import Any

_CONTEXT = {
    "ip": "$device.ip",
    "userAgent": "$device.user_agent",
    "locale": "$device.language",
    "timezone": "$device.timezone",
    "fbp": "$ids.fbp",
    "fbc": "$ids.fbc",
    "page.url": "$page.url",
    "page.title": "$page.title",
    "page.referrer": "$page.referrer",
    "os.name": "$device.os",
    "os.version": "$device.os_version",
    "device.id": "$device.id",
    "device.type": "$device.type",
    "device.model": "$device.model",
    "device.manufacturer": "$device.manufacturer",
    "device.advertisingId": "$device.advertising_id",
    "device.adTrackingEnabled": "$device.ad_tracking",
    "screen.width": "$device.screen_width",
    "screen.height": "$device.screen_height",
    "network.carrier": "$event.raw.carrier",
    "app.name": "$event.app.name",
    "app.version": "$event.app.version",
    "app.build": "$event.app.build",
    "app.namespace": "$event.app.namespace",
    "campaign.name": "$campaign.name",
    "campaign.source": "$campaign.source",
    "campaign.medium": "$campaign.medium",
}
_ROOT = {
    "userId": "$user.id",
    "anonymousId": "$user.anonymous_id",
    "messageId": "$event.id",
    "timestamp": "$event.time",
    "event": "$event.name",
    "name": "$props.name",
    "groupId": "$props.group_id",
    "previousId": "$props.previous_id",
}
_TRAITS = {
    "firstName": "first_name",
    "first_name": "first_name",
    "lastName": "last_name",
    "last_name": "last_name",
    "birthday": "birthdate",
    "email": "email",
    "phone": "phone",
    "gender": "gender",
    "address.street": "street",
    "address.city": "city",
    "address.state": "state",
    "address.postalCode": "zip",
    "address.postal_code": "zip",
    "address.zip": "zip",
    "address.country": "country",
}
_MOVED = {
    "order_id": "$props.transaction_id",
    "query": "$props.search_term",
    "search_string": "$props.search_term",
    "event_id": "$event.id",
    "products": "$items",
    "url": "$page.url",
}
_IDS = frozenset("fbp fbc fbclid gclid gbraid wbraid ttclid ttp msclkid twclid".split())
_ITEM = {"product_id": "id", "sku": "id", "position": "index", "item_id": "id", "item_name": "name"}
_PLAIN = re.compile(r"[A-Za-z_][\w-]*$")


def expression(path: str) -> str:
    """`$.properties.order_id` as an expression."""
    parts = path.removeprefix("$").lstrip(".").split(".")
    head, rest = parts[0], parts[1:]
    if head == "properties":
        return _property(rest)
    if head == "traits" or (head == "context" and rest[:1] == ["traits"]):
        return _trait(rest if head == "traits" else rest[1:])
    if head == "context":
        joined = ".".join(rest)
        return _CONTEXT.get(joined) or f"$event.raw{_steps(rest)}"
    return _ROOT.get(head, f"$event.raw{_steps(parts)}")


def _property(rest: list[str]) -> str:
    if not rest:
        return "$props"
    if rest[0] == "products" and len(rest) > 1:
        index = re.sub(r"\D", "", rest[1]) or "0"
        return f"$items[{index}]" + _steps([_ITEM.get(rest[2], rest[2])] if len(rest) > 2 else [])
    own = f"$props{_steps(rest)}"
    if len(rest) > 1:
        return own
    if rest[0] in _IDS:
        return f"{own} // $ids.{rest[0]}"
    if rest[0] in ("email", "phone"):
        return f"{own} // $user.{rest[0]}"
    moved = _MOVED.get(rest[0]) or (f"$items[0].{_ITEM.get(rest[0], rest[0])}" if _PLAIN.match(rest[0]) else None)
    return f"{own} // {moved}" if moved else own


def _trait(rest: list[str]) -> str:
    known = _TRAITS.get(".".join(rest))
    return f"$user.{known}" if known else f"$user.traits{_steps(rest)}"


def _steps(parts: list[str]) -> str:
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" if _PLAIN.match(part) else f"['{part}']" for part in parts)


def value(given: Any) -> Any:
    """A field's value in a case's mapping as a shape of our language; literals that begin with `$` are escaped."""
    if isinstance(given, list):
        return [value(one) for one in given]
    if isinstance(given, str):
        return f"${given}" if given.startswith("$") else given
    if not isinstance(given, dict):
        return given
    if "@path" in given:
        return expression(given["@path"])
    if "@template" in given:
        return re.sub(r"\{\{\s*([^}]+?)\s*\}\}", lambda hole: "${" + expression("$." + hole[1]) + "}", given["@template"])
    if "@if" in given:
        return _choice(given["@if"])
    if "@arrayPath" in given:
        return _array(*given["@arrayPath"])
    return {key: value(inner) for key, inner in given.items()}


def text(given: Any) -> str:
    """A field's value as one expression; constants are quoted. Raises TypeError for what only a shape can say."""
    if isinstance(given, dict):
        made = value(given)
        if isinstance(made, str):
            return made
        raise TypeError(f"not one expression: {given}")
    return "null" if given is None else repr(given) if isinstance(given, (str, bool, int, float)) else f"{given}"


def _choice(given: dict[str, Any]) -> str:
    condition = given.get("exists", given.get("blank"))
    yes, no = (given.get("then"), given.get("else")) if "exists" in given else (given.get("else"), given.get("then"))
    if yes == condition:
        return " // ".join(text(one) for one in (yes, no) if one is not None)
    chosen = f"(({text(condition)}) | exists | then:({text(yes)}))"
    return f"{chosen} // ({text(no)})" if no is not None else chosen


def _array(path: Any, shape: dict[str, Any]) -> Any:
    where = path["@path"] if isinstance(path, dict) else path
    if where in ("$.properties", "$.context", "$"):
        return [{key: _inside(where, inner) for key, inner in shape.items()}]
    items = where == "$.properties.products"
    return {"$for": expression(where), "$do": {key: _of_item(inner, items) for key, inner in shape.items()}}


def _inside(where: str, given: Any) -> Any:
    if isinstance(given, dict) and "@path" in given:
        return expression(where + given["@path"].removeprefix("$"))
    return value(given)


def _of_item(given: Any, items: bool) -> Any:
    if isinstance(given, dict) and "@path" in given:
        name = given["@path"].removeprefix("$").lstrip(".")
        own = "$item" + _steps(name.split("."))
        return f"{own} // $item.{_ITEM[name]}" if items and name in _ITEM else own
    return value(given)
