"""The fields of an event before and after the schema's validator: cleaning, numbers, consent words, `raw`, and dropping.

Dropped values are named by the schema (`props.value`, `items.price`, `user`), never by a key of the sender's: the names
are metric labels. `prepare` changes the map it is given at its top level only; what lies below is copied first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, get_type_hints

import orjson

from gateway import event
from gateway.event import PURPOSES
from gateway.normalise.values import ABSENT, is_rounded, number
from gateway.normalise.values import cleaned as clean_value

MAX_RAW_KEYS = 50
MAX_RAW_TEXT = 500
MAX_CONSENT_TEXT = 16 * 1024
_CONSENT_TEXTS = frozenset({"gdpr_consent", "gpp"})
"""Keys of `raw` whose values mean nothing when they are cut."""

_SHAPES: dict[str, Any] = {
    "user": event.User,
    "page": event.Page,
    "device": event.Device,
    "geo": event.Geo,
    "campaign": event.Campaign,
    "ids": event.Ids,
    "session": event.Session,
    "props": event.Props,
    "consent": event.Consent,
    "bot": event.Bot,
    "app": event.App,
    "items": event.Item,
}
_FIELDS = {section: frozenset(get_type_hints(shape)) for section, shape in _SHAPES.items()}
_WRITABLE = frozenset((*_SHAPES, "engagement_ms", "integrations", "raw")) - {"bot"}
_WRITABLE_BY_SERVERS = _WRITABLE | {"bot"}


def _numeric(shape: Any) -> tuple[str, ...]:
    hints = get_type_hints(shape, include_extras=True)
    return tuple(name for name, hint in hints.items() if hint == event.Number)


_NUMBERS = tuple((section, _numeric(shape)) for section, shape in _SHAPES.items() if section != "items" and _numeric(shape))
_ITEM_NUMBERS = _numeric(event.Item)

UNREAD_MONEY = "props.value"
"""The key of `raw` under which a `props.value` stays that is no number."""
UNREAD_CURRENCY = "props.currency"
"""The same of a `props.currency` that is no ISO 4217 code."""
_WORDS = ("granted", "denied", "unknown")
_CHOICES: dict[Any, str] = {
    **dict.fromkeys(("granted", "true", "yes", "1", 1), "granted"),
    **dict.fromkeys(("denied", "false", "no", "0", 0), "denied"),
    "unknown": "unknown",
}


def cleaned(data: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    """A copy with clean text and without what is absent; values that cannot be kept are named in `dropped`."""
    clean: dict[str, Any] = {}
    for section, part in data.items():
        if isinstance(part, dict):
            kept: Any = {}
            for key, value in part.items():
                fit = clean_value(value, lambda path=(section, key): dropped.append(_label(path)))  # type: ignore[misc]
                name = clean_value(str(key), lambda: None)
                if fit is not ABSENT and name is not ABSENT:
                    kept[name] = fit
        else:
            kept = clean_value(part, lambda path=(section,): dropped.append(_label(path)))  # type: ignore[misc]
        if kept is not ABSENT:
            clean[str(clean_value(section, lambda: None))] = kept
    return clean


def prepare(data: dict[str, Any], dropped: list[str], *, server: bool) -> None:
    """Bring a client's data into the form that the schema takes. A bot score counts only from a server key."""
    for key in data.keys() - (_WRITABLE_BY_SERVERS if server else _WRITABLE):
        del data[key]
        dropped.append("unknown")
    _numbers(data, dropped)
    if "consent" in data:
        data["consent"] = _consent(data["consent"], dropped)
    if "raw" in data:
        data["raw"] = _raw(data["raw"], dropped)


def note_unknown(data: Mapping[str, Any], valid: Mapping[str, Any], dropped: list[str]) -> None:
    """Name the sections of which the validator left keys out because the schema does not know them."""
    for section, part in data.items():
        if type(part) is dict and len(part) != len(valid[section]):
            dropped.extend(section for _ in range(len(part) - len(valid[section])))


def _numbers(data: dict[str, Any], dropped: list[str]) -> None:
    for section, keys in _NUMBERS:
        part = data.get(section)
        if type(part) is dict and not _fit(part, keys):
            data[section] = _with_numbers(part, keys, section, dropped)
            if section == "props" and "value" not in data[section]:
                _keep_unread(part.get("value"), data)
    items = data.get("items")
    if type(items) is list and not _all_fit(items):
        data["items"] = [_with_numbers(item, _ITEM_NUMBERS, "items", dropped) if type(item) is dict else item for item in items]
    if "engagement_ms" in data:
        holder = _with_numbers({"engagement_ms": data.pop("engagement_ms")}, ("engagement_ms",), "engagement_ms", dropped)
        data.update(holder)


def _keep_unread(money: Any, data: dict[str, Any]) -> None:
    """A mapping can tell money that could not be read from no money at all."""
    if money is not None and not (isinstance(money, str) and not money.strip()):
        raw = data.get("raw")
        data["raw"] = {**(raw if isinstance(raw, dict) else {}), UNREAD_MONEY: money}


def _fit(part: dict[str, Any], keys: tuple[str, ...]) -> bool:
    """Whether every number of a part can stay as it is (the validator checks its bounds)."""
    for key in keys:
        if key in part:
            value = part[key]
            if type(value) is float:
                if not is_rounded(value):
                    return False
            elif type(value) is not int and value is not None:
                return False
    return True


def _all_fit(items: list[Any]) -> bool:
    # a loop, since this runs for every event and a generator costs as much as the look
    for item in items:  # noqa: SIM110
        if type(item) is not dict or not _fit(item, _ITEM_NUMBERS):
            return False
    return True


def _with_numbers(part: dict[str, Any], keys: tuple[str, ...], section: str, dropped: list[str]) -> dict[str, Any]:
    """A copy of the part with its numbers read."""
    read = {key: value for key, value in part.items() if key not in keys}
    for key in keys:
        if key not in part:
            continue
        value = number(part[key])
        if value is not None:
            read[key] = value
        elif not (isinstance(part[key], str) and not part[key].strip()):
            dropped.append(_label((section, key)))
    return read


def _consent(given: Any, dropped: list[str]) -> dict[str, Any]:
    """What a client may say of consent; a word that cannot be read is a denial."""
    if not isinstance(given, dict):
        dropped.append("consent")
        return dict.fromkeys(PURPOSES, "denied")
    block: dict[str, Any] = {}
    for purpose in PURPOSES:
        if purpose in given:
            choice = given[purpose]
            if type(choice) is not str or choice not in _WORDS:
                choice = _choice(choice)
            if choice is None:
                dropped.append(f"consent.{purpose}")
            block[purpose] = choice or "denied"
    if "sale_opt_out" in given:
        block["sale_opt_out"] = _choice(given["sale_opt_out"]) != "denied"
    if "explicit" in given:
        block["explicit"] = _choice(given["explicit"]) != "denied"
    categories = given.get("categories")
    if isinstance(categories, dict):
        block["categories"] = {name: _choice(value) == "granted" for name, value in categories.items()}
    for name in ("tcf", "gpp"):
        text = given.get(name)
        if isinstance(text, str) and 0 < len(text) <= MAX_CONSENT_TEXT:
            block[name] = {"string": text}
            if name == "gpp" and isinstance(given.get("gpp_sid"), str):
                block[name]["sid"] = given["gpp_sid"][:100]
    return block


def _choice(value: Any) -> str | None:
    if isinstance(value, str):
        return _CHOICES.get(value) or _CHOICES.get(value.strip().lower())
    return _CHOICES.get(value) if isinstance(value, (bool, int)) else None


def _raw(given: Any, dropped: list[str]) -> dict[str, Any]:
    """At most 50 keys of 500 characters: text is cut, a structure that is longer as JSON is left out."""
    if not isinstance(given, dict):
        dropped.append("raw")
        return {}
    kept: dict[str, Any] = {}
    for key, value in given.items():
        if len(kept) == MAX_RAW_KEYS or len(key) > MAX_RAW_TEXT:
            dropped.append("raw")
        elif isinstance(value, str):
            kept[key] = value[: MAX_CONSENT_TEXT if key in _CONSENT_TEXTS else MAX_RAW_TEXT]
        elif not isinstance(value, (dict, list)) or len(orjson.dumps(value)) <= MAX_RAW_TEXT:
            kept[key] = value
        else:
            dropped.append("raw")
    return kept


def without(data: dict[str, Any], errors: Iterable[Mapping[str, Any]], dropped: list[str]) -> dict[str, Any]:
    """A copy without the fields that a validator complained about (`loc` of each error), which are named in `dropped`.

    Of a list only the offending elements go. Raises KeyError for a complaint about what is not there: the gateway's own
    keys are always valid.
    """
    paths = {_path(data, error["loc"]) for error in errors}
    inner = {path for path in paths if not any(other != path and other[: len(path)] == path for other in paths)}
    slim = deepcopy(data)
    for path in sorted(inner, key=_from_the_end, reverse=True):
        if not path:
            raise KeyError("a required key of the event is missing")
        holder: Any = slim
        for step in path[:-1]:
            holder = holder[step]
        value = holder[path[-1]]
        del holder[path[-1]]
        if path == ("props", "currency") and isinstance(value, str) and value.strip():
            slim["raw"] = {**slim.get("raw", {}), UNREAD_CURRENCY: value[:MAX_RAW_TEXT]}
        if not (isinstance(value, str) and not value.strip()):
            dropped.append(_label(path))
    return slim


def _path(data: Any, loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """The part of a location that exists in the data: the validator adds names of union branches."""
    path: list[int | str] = []
    node = data
    for step in loc:
        inside = step in node if isinstance(node, dict) else isinstance(node, list) and type(step) is int and step < len(node)
        if inside:
            node = node[step]
            path.append(step)
    return tuple(path)


def _from_the_end(path: tuple[int | str, ...]) -> tuple[tuple[int, str], ...]:
    return tuple((step, "") if isinstance(step, int) else (0, step) for step in path)


def _label(path: Sequence[int | str]) -> str:
    """The name of a field of the schema: the sender's own keys and anything unknown are named by their section."""
    section = str(path[0])
    if section not in _SHAPES:
        return section if section in _WRITABLE or section == "time" else "unknown"
    key = next((step for step in path[1:] if isinstance(step, str)), None)
    return f"{section}.{key}" if key in _FIELDS[section] else section
