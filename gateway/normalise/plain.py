"""The short way: sections that need no help. Most events have no others, and a look at each value is all they cost.

`is_plain` tells whether cleaning, `fields.prepare` and the event's schema would all leave an event's sections as they are: text
without blanks around it, numbers that are numbers and rounded, consent in the canonical words, no key that the schema does
not know, nothing empty. Then there is nothing to copy and nothing to validate. A wrong no costs time, a wrong yes would be a
fault: the tests compare both ways over generated events. What is rare (a bot score, lists of addresses, TC strings in a block
of consent) is not looked into and is never plain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from gateway import event
from gateway.event import PURPOSES
from gateway.normalise.fields import MAX_RAW_KEYS, MAX_RAW_TEXT
from gateway.normalise.values import LIMIT, is_rounded

LONGEST = 2000
"""Bytes of an event as JSON up to which no text in it can be too long, nor a list, nor a name of a key."""
_WORDS = frozenset(get_args(event.Choice))
_PURPOSES = frozenset(PURPOSES)
Check = Callable[[Any], bool]


def is_plain(sections: Mapping[str, Any], content: bytes) -> bool:
    """Whether a client's sections are valid as they stand; `content` is the clean JSON (values.is_clean) of them."""
    if len(content) > LONGEST:
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
    return type(value) is str and len(value) == 3 and value.isalpha() and value.isupper()


def _of_section(shape: Any, *, is_open: bool) -> Check:
    """The check of a map of the schema; `is_open`: the site's own keys are kept beside the schema's."""
    hints = get_type_hints(shape, include_extras=True)
    texts = frozenset(name for name, hint in hints.items() if hint in (event.Text, event.Url, event.Text | list[event.Text]))
    others = {name: _VALUES.get(hint, _never) for name, hint in hints.items() if name not in texts}
    if shape is event.Device:
        texts, others = texts - {"ip"}, others | {"ip": _is_address}

    def check(part: Any) -> bool:
        if type(part) is not dict or not part:
            return False
        for key, value in part.items():
            if key in texts:
                if type(value) is not str or value[0] == " " or value[-1] == " ":
                    return False
            elif key in others:
                if not others[key](value):
                    return False
            elif not is_open:
                return False
        return True

    return check


def _never(value: Any) -> bool:
    return False


def _is_free(value: Any) -> bool:
    return type(value) is dict


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
    return type(part) is dict and bool(part) and all(type(value) is bool for value in part.values())


def _is_raw(part: Any) -> bool:
    if type(part) is not dict or not 0 < len(part) <= MAX_RAW_KEYS:
        return False
    for key, value in part.items():
        if len(key) > MAX_RAW_TEXT or type(value) in (dict, list) or (type(value) is str and len(value) > MAX_RAW_TEXT):
            return False
    return True


_VALUES: dict[Any, Check] = {event.Number: _is_number, event.Currency: _is_currency, event.Free: _is_free}
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
