"""`POST /v1/consent`: what a visitor chose, on its own.

    {"user": {"email": "…"}, "ids": {"ga_client_id": "…"}, "consent": {"ad_storage": "denied", "analytics_storage": "granted"}}

At least one identifier says whose choice it is and at least one purpose what was chosen. A browser may leave the
identifiers to its cookies (`_fbp`, `_ga`, `_ttp`, and the one that we set, whatever its name).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from gateway.errors import Malformed
from gateway.event import PURPOSES
from gateway.receive.hit import Hit
from gateway.receive.limits import check_depth

IDENTIFIERS = ("id", "anonymous_id", "email", "phone")
CHOICES = ("granted", "denied")
MAX_IDENTIFIERS = 50
MAX_TEXT = 2000
_COOKIES = {
    "_fbp": ("fbp", re.compile(r"(fb\.\d\.\d{10,16}\.\d{1,20}(?:\.[A-Za-z0-9]{1,16})?)")),
    "_ga": ("ga_client_id", re.compile(r"GA1\.\d+(?:-\d+)?\.(\d{1,12}\.\d{1,12})")),
    "_ttp": ("ttp", re.compile(r"([A-Za-z0-9_.-]{10,64})")),
}


_OURS = re.compile(r"1\.([A-Za-z0-9_-]{22})\.\d{9,11}\.\d{9,11}\.[A-Za-z0-9_-]{0,8}\.[A-Za-z0-9_-]{16}", re.ASCII)
"""The form of our own id; nobody is harmed by one that is not ours, as a body may name anybody too."""


class Consents(Protocol):
    """Who keeps choices (gateway/consents.py)."""

    async def choose(self, hit: Hit, user: dict[str, Any], ids: dict[str, Any], consent: dict[str, Any]) -> bytes | None:
        """Returns once the choice holds: no request that begins later breaks it. Raises QueueFull.

        What it returns are Set-Cookie lines, complete with their line ends, for the browser that sent the choice.
        """


def read_choice(hit: Hit) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(user, ids, consent) of the hit. Raises Malformed."""
    check_depth(hit.body)
    try:
        value = orjson.loads(hit.body)
    except orjson.JSONDecodeError:
        raise Malformed("the body is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("the body must be an object")
    user = _identifiers(value.get("user"), IDENTIFIERS)
    ids = _identifiers(value.get("ids"), None)
    if hit.browser:
        header = hit.headers.get("cookie", "")
        ids = {**cookie_ids(header), **ids}
        if "anonymous_id" not in user and (own := _own_id(header)):
            user = {**user, "anonymous_id": own}
    consent = _consent(value.get("consent"))
    if not user and not ids:
        raise Malformed("say whose choice it is: user.id, user.anonymous_id, user.email, user.phone or one of ids")
    return user, ids, consent


def cookie_ids(header: str) -> dict[str, Any]:
    """The identifiers among a browser's own cookies; of repeated ones the first that has the right form."""
    found: dict[str, Any] = {}
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name in _COOKIES:
            key, form = _COOKIES[name]
            match = form.fullmatch(value)
            if match:
                found.setdefault(key, match[1])
    return found


def _own_id(header: str) -> str | None:
    """The visitor's id in the cookie that the gateway set."""
    values = (pair.partition("=")[2].strip() for pair in header.split(";"))
    return next((match[1] for value in values if (match := _OURS.fullmatch(value))), None)


def _identifiers(given: Any, names: tuple[str, ...] | None) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > MAX_IDENTIFIERS:
        raise Malformed(f"user and ids must be objects of at most {MAX_IDENTIFIERS} keys")
    kept = {key: _values(value) for key, value in given.items() if names is None or key in names}
    return {key: value for key, value in kept.items() if value}


def _values(value: Any) -> Any:
    """Text, or a list of texts; a whole number is text too."""
    if isinstance(value, list):
        return [text for one in value[:MAX_IDENTIFIERS] if (text := _values(one)) and isinstance(text, str)]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value.strip() if isinstance(value, str) and len(value) <= MAX_TEXT else ""


def _consent(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not given:
        raise Malformed(f"consent must name at least one of {', '.join(PURPOSES)}")
    if any(purpose not in PURPOSES for purpose in given):
        raise Malformed(f"consent may only name {', '.join(PURPOSES)}")
    if any(choice not in CHOICES for choice in given.values()):
        raise Malformed("each purpose is granted or denied")
    return dict(given)
