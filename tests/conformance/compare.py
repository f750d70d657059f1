"""Whether what was sent equals what a peer expects: the must-match rules, and what is a matter of taste.

`compare(case, sent)` gives the differences that count and those that are only worth a look. Rules are numbered as in the
cases' own guide: 1 hashes, 2 plain personal fields, 3 ids, 4 money, 5 time, 6 names, 7 required fields and the shape of the
request, 8 refusals.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.cases import Case

EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_IDS = frozenset(
    """event_id order_id transaction_id id content_id content_ids item_id client_id app_instance_id user_id external_id fbc fbp
    ttclid ttp gclid session_id app_id event_source_id promotion_id group_id lead_id partner_id madid idfa idfv gaid
    creative_id ad_id campaign_id callback""".split()
)
_MONEY = frozenset("value price item_price currency tax shipping net_revenue predicted_ltv".split())
_TIMES = frozenset({"event_time", "timestamp_micros", "timestamp"})
_REQUIRED = frozenset("action_source event_source engagement_time_msec url event_source_url".split())
_FREE = {
    "custom_data": frozenset("value currency net_revenue predicted_ltv content_ids order_id".split()),
    "properties": frozenset("value currency predicted_ltv content_ids order_id shop_id".split()),
    "params": frozenset(
        "value currency tax shipping transaction_id session_id promotion_id item_list_id group_id engagement_time_msec".split()
    ),
}
"""Where a site's own properties stand too: the platform's fields among them that count."""
_USER = frozenset({"user_data", "user"})
_TASTE_USER = frozenset({"locale", "att_status", "partner_name"})
_WITH_ENVELOPE = ("client_id", "app_instance_id", "user_id", "timestamp_micros", "consent", "user_properties", "user_data")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")


@dataclass
class Sent:
    """One request that the recorder saw. `path` is without the case's own prefix."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass
class Result:
    """What differs: `must` fails the case, `taste` is only reported."""

    case: Case
    must: list[str] = field(default_factory=list)
    taste: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no difference counts."""
        return not self.must


def compare(case: Case, sent: list[Sent]) -> Result:
    """Compare everything a case's destination sent with what the case expects."""
    result = Result(case)
    if case.rejected is not None:
        if sent:
            result.must.append(f"8: sent although refused ({case.rejected})")
        return result
    if case.destination == "webhook":
        return _webhook(case, sent, result)
    if not sent:
        _nothing(case, result)
        return result
    _requests(case, sent, result)
    expected = [event for request in case.requests for event in unwrap(_content(request))]
    actual = [event for request in sent for event in unwrap(request.json())]
    if len(expected) != len(actual):
        result.must.append(f"7: {len(actual)} events instead of {len(expected)}")
    for wanted in expected:
        found = _pair(wanted, actual)
        if found is not None:
            actual.remove(found)
            _event(case, wanted, found, result)
    _clear_text(case, sent, result)
    return result


def _nothing(case: Case, result: Result) -> None:
    """Nothing was sent. Held for want of a currency that a peer makes up: its rule 6, a matter of taste."""
    invented = '"currency": "USD"' in json.dumps(case.requests) and '"currency"' not in json.dumps(case.event)
    if invented:
        result.taste.append("nothing was sent: money without a currency is held unless default_currency is set")
    else:
        result.must.append("7: nothing was sent")


def _content(request: dict[str, Any]) -> Any:
    return request.get("json") or request.get("form")


def unwrap(content: Any) -> list[dict[str, Any]]:
    """The event objects of a request, with what the envelope says about them merged in."""
    if not isinstance(content, dict):
        return []
    if isinstance(content.get("data"), list):
        outer = {key: value for key, value in content.items() if key in ("event_source", "event_source_id")}
        return [{**outer, **event} for event in content["data"]]
    outer = {key: content[key] for key in _WITH_ENVELOPE if key in content}
    return [{**outer, **event} for event in content.get("events", ())]


def _requests(case: Case, sent: list[Sent], result: Result) -> None:
    wanted = case.requests[0]
    for request in sent:
        if request.method != wanted["method"]:
            result.must.append(f"7: method {request.method} instead of {wanted['method']}")
        if _path(request.path) != _path(urlsplit(wanted["url"]).path):
            result.must.append(f"7: path {request.path} instead of {urlsplit(wanted['url']).path}")
        query = dict(wanted.get("query") or {})
        headers = dict(wanted.get("headers") or {})
        if query.pop("access_token", None) and "authorization" not in headers:
            headers["authorization"] = "Bearer TOKEN"  # the same credential, at the place that stays out of logs
        for name, value in query.items():
            if value != "<any>" and str(request.query.get(name)) != str(value):
                result.must.append(f"7: query {name}={request.query.get(name)} instead of {value}")
        for name, value in headers.items():
            if name not in ("content-type", "accept") and request.headers.get(name) != value:
                result.must.append(f"7: header {name} differs")


def _path(path: str) -> str:
    return re.sub(r"^/v\d+(\.\d+)?/", "/", path)


def _pair(wanted: dict[str, Any], actual: list[dict[str, Any]]) -> dict[str, Any] | None:
    def score(event: dict[str, Any]) -> int:
        return 2 * (event_name(event) == event_name(wanted)) + (event.get("event_id") == wanted.get("event_id"))

    return max(actual, key=score) if actual else None


def event_name(event: dict[str, Any]) -> Any:
    """The platform's name of an event object."""
    return event.get("event_name", event.get("event", event.get("name")))


def _event(case: Case, wanted: dict[str, Any], found: dict[str, Any], result: Result) -> None:
    if event_name(wanted) != event_name(found):
        note = f"6: named {event_name(found)!r} instead of {event_name(wanted)!r}"
        (result.taste if _named_by_taste(case, wanted) else result.must).append(note)
    for path, value in _leaves(wanted):
        if path[-1] in ("event_name", "event", "name") and len(path) == 1:
            continue
        _leaf(case, path, value, _at(found, path), result)
    for path, value in _leaves(found):
        if value == EMPTY_HASH:
            result.must.append(f"1: hash of nothing at {_shown(path)}")


def _named_by_taste(case: Case, wanted: dict[str, Any]) -> bool:
    """Peers disagree on default names; a mapped or configured name and most e-commerce names are no matter of taste."""
    if case.config.get("event_map") or case.action:
        return False
    kind = case.event.get("type")
    disputed = {"CompletePayment", "PlaceAnOrder", "PageView", "Pageview", "SubmitForm"}
    return kind in ("page", "screen") or event_name(wanted) in disputed


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in _leaves(value, (*path, key))]
    if isinstance(node, list) and any(isinstance(value, dict) for value in node):
        return [leaf for index, value in enumerate(node) for leaf in _leaves(value, (*path, index))]
    return [] if node in ("", None, [], {}) else [(path, node)]


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        if isinstance(step, int):
            node = node[step] if isinstance(node, list) and step < len(node) else None
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return node


def _shown(path: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in path)


def _leaf(case: Case, path: tuple[Any, ...], wanted: Any, found: Any, result: Result) -> None:
    if wanted == "<any>":
        if found in (None, "", [], {}):
            result.must.append(f"7: {_shown(path)} is missing")
        return
    name = next((step for step in reversed(path) if isinstance(step, str)), "")
    rule = _rule(name, path)
    if _equal(name, wanted, found):
        return
    note = f"{_shown(path)} is {found!r} instead of {wanted!r}"
    if rule is None or _taste(case, name, wanted, found):
        result.taste.append(note)
    else:
        result.must.append(f"{rule}: {note}")


def _rule(name: str, path: tuple[Any, ...]) -> int | None:
    """The number of the rule that a field falls under, or None for a matter of taste."""
    if path[0] in _FREE and len(path) == 2 and name not in _FREE[path[0]]:
        return None  # a property of the site that happens to be called so
    if path[0] in _USER:
        return None if name in _TASTE_USER else 1
    if name in _TIMES and len(path) == 1:
        return 5
    if name in _MONEY:
        return 4
    if name in _IDS:
        return 3
    if name in _REQUIRED:
        return 7
    return 7 if path[0] in ("consent", "user_properties") else None


def _equal(name: str, wanted: Any, found: Any) -> bool:
    if isinstance(wanted, list) or isinstance(found, list):
        left = wanted if isinstance(wanted, list) else [wanted]
        right = found if isinstance(found, list) else [found]
        return len(left) == len(right) and all(_equal(name, a, b) for a, b in zip(left, right, strict=True))
    if found is None:
        return False
    if name in _TIMES:
        return _instant(wanted) == _instant(found)
    if wanted == found or str(wanted) == str(found):
        return True
    try:
        return Decimal(str(wanted)) == Decimal(str(found))
    except InvalidOperation:
        return False


def _instant(value: Any) -> int | None:
    """Whole epoch seconds of seconds, milliseconds, microseconds or RFC 3339 text."""
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    while number > 1e11:
        number /= 1000
    return int(number)


def _taste(case: Case, name: str, wanted: Any, found: Any) -> bool:
    """Differences in a field that counts which the guide still calls taste."""
    given = json.dumps(case.event)
    if name == "currency" and found is None:
        return '"currency"' not in given  # 6: money units are not invented
    if name == "value" and found is None:
        return wanted in (0, "0")
    if name == "value":
        return wanted in (0, "0") or (_candidate(case, wanted) and _candidate(case, found))
    return name == "user_id" and case.peer == "segment"


def _candidate(case: Case, value: Any) -> bool:
    """Whether an amount is one of those that an event offers: revenue, total, value, price, price × quantity."""
    props = case.event.get("properties") or case.event.get("data") or {}
    amounts = [props.get(key) for key in ("revenue", "total", "value", "price", "subtotal")]
    products = props.get("products") or [props]
    sums = [_decimal(one.get("price")) * _decimal(one.get("quantity", 1)) for one in products if isinstance(one, dict)]
    return any(_decimal(value) == _decimal(amount) for amount in (*amounts, sum(sums)) if amount is not None)


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)


def _clear_text(case: Case, sent: list[Sent], result: Result) -> None:
    """Rule 2 of taste: extra fields must not carry an address in the clear that the peer does not send so."""
    wanted = json.dumps(case.requests)
    for address in set(_EMAIL.findall(json.dumps(case.event))):
        if address not in wanted and any(address.encode() in request.body for request in sent):
            result.must.append("2: an e-mail address in the clear")


def _webhook(case: Case, sent: list[Sent], result: Result) -> Result:
    if len(sent) != len(case.requests):
        result.must.append(f"7: {len(sent)} requests instead of {len(case.requests)}")
    for wanted, found in zip(case.requests, sent, strict=False):
        if wanted["method"] != found.method:
            result.must.append(f"7: method {found.method} instead of {wanted['method']}")
        if (urlsplit(wanted["url"]).path or "/") != (found.path or "/"):
            result.must.append(f"7: path {found.path} instead of {urlsplit(wanted['url']).path}")
        for name, value in (wanted.get("headers") or {}).items():
            mine = found.headers.get(name, "")
            same = mine.startswith("Basic ") if str(value).startswith("Basic ") else mine == str(value)
            if not same:
                result.must.append(f"7: header {name} is {mine!r} instead of {value!r}")
        for name, value in (wanted.get("query") or {}).items():
            if str(found.query.get(name)) != str(value):
                result.must.append(f"7: query {name} is {found.query.get(name)!r} instead of {value!r}")
        if "json" in wanted:
            _canonical(case, wanted["json"], found.json(), result)
        elif "form" in wanted or "xml" in wanted:
            result.must.append("7: the body is of another type")
    return result


def _canonical(case: Case, wanted: Any, found: Any, result: Result) -> None:
    """The default body is our canonical event: name, ids and each scalar of the properties must arrive."""
    if not isinstance(found, dict):
        result.must.append("7: the body is no object")
        return
    given = case.event
    checks: list[tuple[str, Any, Any]] = []
    if "event" in wanted:
        checks.append(("name", given.get("event"), found.get("name")))
    for theirs, ours in (("userId", "id"), ("anonymousId", "anonymous_id")):
        if theirs in wanted:
            checks.append((theirs, wanted[theirs], (found.get("user") or {}).get(ours)))
    if given.get("messageId") and ("messageId" in wanted or "message_id" in wanted):
        checks.append(("id", given["messageId"], found.get("id")))
    for key, value in (wanted.get("properties") or {}).items():
        if isinstance(value, (str, int, float)) and value != "":
            checks.append((f"props.{key}", value, (found.get("props") or {}).get(key)))
    for name, value, mine in checks:
        if not _equal(name, value, mine):
            result.must.append(f"3: {name} is {mine!r} instead of {value!r}")
