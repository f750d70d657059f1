"""A case's settings and mapping as one source and one destination file of ours, and its event as a body to post.

General translations only: nothing here knows a single case. Secrets are references to the environment (CASE_SECRET), as in
any real file. What the peer's own stock mapping says beyond ours is in STOCK_CLIENT and the tables of actions.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any
from urllib.parse import urlsplit

from gateway.config.tree import plain
from gateway.manifest import load_manifest
from gateway.normalise.vocabulary import canonical
from tests.conformance import patches
from tests.conformance.cases import Case

SECRET = "${CASE_SECRET}"
_SAME = (
    "pixel_id measurement_id firebase_app_id client_type app_id event_set_id action_source value_field "
    "category_to_content_type omit_external_id pii_allow pii_drop pii_hash custom_properties test_event_code standard_page "
    "region api_version event_source"
).split()
_RENAMED = {"appID": "app_id", "eventSetID": "event_set_id"}
_REFUSED = {"meta": ("group", "alias"), "tiktok": ("identify", "group", "alias")}
"""Event types that the peers refuse at this vendor."""


def source(case: Case) -> dict[str, Any]:
    """The source block: consent is of no concern to the peers, so silence allows."""
    return {
        "server_keys": ["${" + key_name(case) + "}"],
        "consent": {"unknown": "jurisdiction", "jurisdiction": "none"},
    }


def key_name(case: Case) -> str:
    """The environment variable of its server key."""
    return f"KEY_{case.slug.upper()}"


def destination(case: Case, recorder: str) -> dict[str, Any]:
    """The destination file as a plain tree; `recorder` is the base URL that stands for the vendor."""
    tree: dict[str, Any] = {
        "type": case.destination,
        "sources": [case.slug],
        "mode": "live",
        "unlisted": "skip" if case.config.get("allow_custom_events") is False else "send",
        "bots": {"max_score": 100},
        "allow_http": True,
    }
    if case.rejected is None or not re.search(r"older|future|age", case.rejected):
        tree["limits"] = {"max_age": "off"}
    if case.destination == "webhook":
        _webhook(case, tree, recorder)
    else:
        tree["endpoint"] = f"{recorder}/{case.slug}"
        tree["settings"] = _settings(case)
    if case.config.get("limited_data_use"):
        tree["consent"] = {"on_opt_out": "limit"}
    if case.config.get("test_event_code") and not _maps(case, "test_event_code"):
        tree["mode"] = "test"
    events = _events(case)
    if events:
        tree["events"] = events
    wrap = patches.envelope(case)
    if wrap:
        tree["batch"] = {"wrap": wrap}
    return tree


def _settings(case: Case) -> dict[str, Any]:
    known = load_manifest(case.destination).settings
    given = {_RENAMED.get(key, key): value for key, value in case.config.items()}
    settings = {key: given[key] for key in _SAME if key in given and key in known}
    for name, spec in known.items():
        if spec.required and spec.secret:
            settings[name] = SECRET
    settings.update(patches.settings(case))
    return settings


def _maps(case: Case, field: str) -> bool:
    return field in (case.config.get("mapping") or {})


def _events(case: Case) -> dict[str, Any]:
    events: dict[str, Any] = {}
    for incoming, names in (case.config.get("event_map") or {}).items():
        rules = [{"name": name} for name in (names if isinstance(names, list) else [names])]
        events[canonical(incoming)] = rules if isinstance(names, list) else rules[0]
    if case.config.get("identify_enabled") is False:
        events["identify"] = None
    for kind in _REFUSED.get(case.destination, ()):
        if not patches.rule(case):
            events[kind] = None
    rule = patches.rule(case)
    if rule:
        incoming = _incoming(case)
        events[incoming] = {**_rule_of(case, rule, incoming), **rule}
    if case.destination == "webhook":
        events.update(patches.webhook_events(case))
    return events


def _incoming(case: Case) -> str:
    """The canonical name of the case's event."""
    if case.walker:
        return canonical(str(case.event["name"]))
    kind = case.event.get("type", "track")
    named = {"page": "page_view", "screen": "screen_view", "identify": "identify", "group": "group", "alias": "alias"}
    return named.get(kind) or canonical(str(case.event.get("event", "")), case.event.get("properties"))


def _rule_of(case: Case, rule: dict[str, Any], incoming: str) -> dict[str, Any]:
    """An action fixes the platform's event: where ours would be another one, the manifest's rule for it is the base."""
    rules = plain(load_manifest(case.destination).tree["events"])
    own = rules.get(incoming)
    if isinstance(own, dict) and own.get("name") == rule.get("name"):
        return {}
    base = next((one for one in rules.values() if isinstance(one, dict) and one.get("name") == rule.get("name")), None)
    if base is None or not isinstance(base.get("body"), dict):
        return {}
    merged = deepcopy(base["body"])
    _merge(merged, rule.get("body") or {})
    rule["body"] = merged
    return {}


def _merge(base: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def body(case: Case) -> dict[str, Any]:
    """What is posted: to /v1/batch, or for a walker event to /v1/events."""
    if case.walker:
        return walker_event(case.event)
    event = {key: value for key, value in deepcopy(case.event).items() if key != "sentAt"}
    if _expects_limit(case):
        event.setdefault("context", {})["consent"] = {"sale_opt_out": True}
    return {"batch": [event]}


def _expects_limit(case: Case) -> bool:
    text = str(case.requests)
    return bool(case.config.get("limited_data_use")) and (
        "data_processing_options" in text or "'limited_data_use': True" in text
    )


def walker_event(event: dict[str, Any]) -> dict[str, Any]:
    """A walkerOS event as native JSON: `data` are the properties, nested products the items."""
    user = {"id": event["user"].get("id"), "anonymous_id": event["user"].get("device"), "email": event["user"].get("email")}
    items = [one["data"] for one in event.get("nested", ()) if one.get("entity") == "product"]
    props = dict(event.get("data") or {})
    if "total" in props:
        props["value"] = props.pop("total")
    if event.get("entity") == "order" and "id" in props:
        props["transaction_id"] = props.pop("id")
    return {
        "id": event["id"],
        "name": event["name"],
        "time": event["timestamp"],
        "user": {key: value for key, value in user.items() if value},
        "page": {"url": event["source"].get("url")},
        "props": props,
        "items": items,
    }


def _webhook(case: Case, tree: dict[str, Any], recorder: str) -> None:
    config = case.config
    mapping = config.get("mapping") or {}
    given = str(config.get("webhookUrl") or config.get("apiUrl") or mapping.get("url"))
    path = urlsplit(given).path
    settings: dict[str, Any] = {"url": f"{recorder}/{case.slug}{path}"}
    method = config.get("webhookMethod") or config.get("method")
    if method:
        settings["method"] = method
    headers = patches.webhook_headers(case)
    if headers:
        settings["headers"] = headers
    if config.get("sharedSecret"):
        settings["secret"] = [SECRET]
    if config.get("auth") == "basicAuth":
        settings.update(username=config["username"], password=SECRET)
    if config.get("auth") == "bearerTokenAuth":
        settings["token"] = SECRET
    if str(config.get("format", "")).lower() in ("json", "form"):
        settings["format"] = str(config["format"]).lower()
    tree["settings"] = settings
