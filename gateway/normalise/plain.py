"""The short way: sections that need no help. Most events have no others, and a look at each value is all they cost.

`is_plain` tells whether cleaning, `fields.prepare` and the event's schema would all leave an event's sections as they are: text
without blanks around it, numbers that are numbers and rounded, consent in the canonical words, no key that the schema does
not know, nothing empty, nothing nested too deep. Then there is nothing to copy and nothing to validate. A wrong no costs time,
a wrong yes would be a fault: the tests compare both ways over generated events. What is rare (a bot score, lists of addresses,
TC strings in a block of consent) is not looked into and is never plain.

Control characters and lone surrogates show in the JSON of the whole, which escapes them; empty text and null are looked for
value by value, as a search for two characters takes longer than all the rest. Only maps and lists of the site's own are
written once more to be searched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, get_args, get_type_hints
from unicodedata import is_normalized

import orjson

from gateway import event
from gateway.event import PURPOSES
from gateway.normalise.fields import MAX_RAW_KEYS, MAX_RAW_TEXT
from gateway.normalise.values import LIMIT, MAX_DEPTH, TO_WHOLE, is_clean, is_rounded

LONGEST = 2000
"""Bytes of an event as JSON up to which no text in it can be too long, nor a list, nor a name of a key, nor keys too many."""
_BRACKETS = MAX_DEPTH // 2
"""Up to so many in a value of the site's own, the event cannot be nested too deep."""
_SURE = 1e9
"""Below it `is_rounded` is one line, which stands where numbers are checked."""
_WHOLE = int(LIMIT)
_WORDS = frozenset(get_args(event.Choice))
_PURPOSES = frozenset(PURPOSES)
Check = Callable[[Any], bool]


def is_plain(sections: Mapping[str, Any], content: bytes) -> bool:
    """Whether a client's sections are valid as they stand; `content` is their JSON, without `device.ip`."""
    if len(content) > LONGEST or b"\\" in content or not (content.isascii() or is_normalized("NFC", content.decode())):
        return False
    for name, part in sections.items():
        check = _CHECKS.get(name)
        if check is None or not check(part):
            return False
    return True


def _is_address(value: Any) -> bool:
    """Of the visitor's address, which the digest leaves out, so that it is not known to be clean."""
    return type(value) is str and 2 <= len(value) <= 64 and value.isascii() and value.isprintable() and value == value.strip()


def _is_number(value: Any) -> bool:
    kind = type(value)
    return (kind is float and -LIMIT <= value <= LIMIT and is_rounded(value)) or (kind is int and -LIMIT <= value <= LIMIT)


def _is_currency(value: Any) -> bool:
    return type(value) is str and len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()


def _is_own(value: Any) -> bool:
    """Of a value that the schema does not know."""
    kind = type(value)
    if kind is str:
        return bool(value)
    if kind is dict or kind is list:
        return _is_tree(value)
    return kind is int or kind is bool or (kind is float and isfinite(value))


def _is_tree(value: Any) -> bool:
    """Of a map or list of the site's own."""
    written = orjson.dumps(value)
    return written.count(b"{") + written.count(b"[") <= _BRACKETS and is_clean(written)


def _of_section(shape: Any, *, is_open: bool) -> Check:
    """The check of a map of the schema; `is_open`: the site's own keys are kept beside the schema's."""
    hints = get_type_hints(shape, include_extras=True)
    texts = frozenset(name for name, hint in hints.items() if hint in (event.Text, event.Url, event.Text | list[event.Text]))
    numbers = frozenset(name for name, hint in hints.items() if hint == event.Number)
    others = {name: _VALUES.get(hint, _never) for name, hint in hints.items() if name not in texts | numbers}
    if shape is event.Device:
        texts, others = texts - {"ip"}, others | {"ip": _is_address}

    def check(part: Any) -> bool:
        if type(part) is not dict or not part:
            return False
        for key, value in part.items():  # of every event: what a call would cost stands here instead
            if key in texts:
                if type(value) is not str or value.strip() != value or not value:
                    return False
            elif key in numbers:
                kind = type(value)
                if kind is float and -_SURE < value < _SURE:
                    if ((value * 1e6 + TO_WHOLE) - TO_WHOLE) / 1e6 != value:
                        return False
                elif (kind is not int or not -_WHOLE <= value <= _WHOLE) and not _is_number(value):
                    return False
            elif key in others:
                if not others[key](value):
                    return False
            elif not is_open or not key or not _is_own(value):
                return False
        return True

    return check


def _never(value: Any) -> bool:
    return False


def _is_free(value: Any) -> bool:
    return type(value) is dict and _is_tree(value)


def _of_items(check: Check) -> Check:
    def all_plain(items: Any) -> bool:
        # a loop, since this runs for every event and a generator costs as much as the look
        if type(items) is not list or not items:
            return False
        for item in items:  # noqa: SIM110
            if not check(item):
                return False
        return True

    return all_plain


def _is_consent(block: Any) -> bool:
    if type(block) is not dict or not block:
        return False
    for key, value in block.items():
        if key in _PURPOSES:
            if type(value) is not str or value not in _WORDS:
                return False
        elif (key != "explicit" and key != "sale_opt_out") or type(value) is not bool:
            return False
    return True


def _are_flags(part: Any) -> bool:
    return type(part) is dict and bool(part) and "" not in part and all(type(value) is bool for value in part.values())


def _is_raw(part: Any) -> bool:
    if type(part) is not dict or not 0 < len(part) <= MAX_RAW_KEYS:
        return False
    for key, value in part.items():
        kind = type(value)
        if not 0 < len(key) <= MAX_RAW_TEXT or kind is dict or kind is list:
            return False
        if (kind is str and len(value) > MAX_RAW_TEXT) or not _is_own(value):
            return False
    return True


_VALUES: dict[Any, Check] = {event.Currency: _is_currency, event.Free: _is_free}
_CHECKS: dict[str, Check] = {
    "user": _of_section(event.User, is_open=False),
    "page": _of_section(event.Page, is_open=False),
    "device": _of_section(event.Device, is_open=False),
    "geo": _of_section(event.Geo, is_open=False),
    "campaign": _of_section(event.Campaign, is_open=False),
    "ids": _of_section(event.Ids, is_open=True),
    "session": _of_section(event.Session, is_open=False),
    "props": _of_section(event.Props, is_open=True),
    "app": _of_section(event.App, is_open=False),
    "items": _of_items(_of_section(event.Item, is_open=True)),
    "engagement_ms": _is_number,
    "consent": _is_consent,
    "integrations": _are_flags,
    "raw": _is_raw,
}
