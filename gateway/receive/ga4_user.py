"""User-provided data of GA4 hits as `user`: hashed in `em=tv.1~em.…`, plain or hashed in `ep.user_data.*` and MP's `user_data`.

Google writes SHA-256 as URL-safe base64 without padding, or as hex; in `user` it is lower-case hex, which every mapping
passes through. A value that should be a hash and is none is left out. `address` and its `address.0` are the same.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

USER_DATA = "user_data."
"""How the names of event parameters with user data begin."""

HASHED: dict[str, str] = {
    "em": "email",
    "pn": "phone",
    "fn": "first_name",
    "ln": "last_name",
    "sa": "street",
}
"""Key of `em=tv.1~…` → `user` key; always a hash."""
CLEAR: dict[str, str] = {"ct": "city", "pc": "zip", "rg": "state", "co": "country"}
"""The same, plain or a hash."""
NAMED: dict[str, str] = {
    "email": "email",
    "email_address": "email",
    "phone_number": "phone",
    "address.first_name": "first_name",
    "address.last_name": "last_name",
    "address.street": "street",
    "address.city": "city",
    "address.region": "state",
    "address.postal_code": "zip",
    "address.country": "country",
}
"""Name below `user_data`, without `sha256_` → `user` key."""

_KEY = re.compile(r"([a-z]{2})(\d{0,2})", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9_+/-]{43}=?")
_INDEX = re.compile(r"(?<=address)(?:\.0|\[0\])")


def from_hashes(text: str, user: dict[str, Any]) -> None:
    """Add what `em=tv.1~em.<hash>~fn0.<hash>~co0.NO` says; of several e-mails or phones all, of addresses the first."""
    for part in text.split("~"):
        key, _, value = part.partition(".")
        known = _KEY.fullmatch(key)
        if not known or not value:
            continue
        hashed = as_hex(value)
        if field := HASHED.get(known[1]):
            if hashed:
                _add(user, field, hashed)
        elif (field := CLEAR.get(known[1])) and known[2] in ("", "0"):
            user.setdefault(field, hashed or value)


def add_plain(user: dict[str, Any], name: str, value: Any) -> None:
    """Add one value of `user_data`; a name that nobody knows stays among the traits, under its own name."""
    plain = _INDEX.sub("", name)
    field = NAMED.get(plain.replace("sha256_", "", 1))
    if value in (None, ""):
        return
    if field is None:
        user.setdefault("traits", {})[f"{USER_DATA}{name}"] = value
    elif "sha256_" not in plain:
        user.setdefault(field, value)
    elif isinstance(value, str) and (hashed := as_hex(value)):
        user.setdefault(field, hashed)


def from_json(given: object, user: dict[str, Any]) -> None:
    """Add the `user_data` of a Measurement Protocol body: lists of hashes, and the first address."""
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if name == "address":
            first = value[0] if isinstance(value, list) and value else value
            for key, inner in first.items() if isinstance(first, Mapping) else ():
                add_plain(user, f"address.{key}", inner)
        elif isinstance(value, list):
            hashes = [hashed for one in value if isinstance(one, str) and (hashed := as_hex(one))]
            field = NAMED.get(str(name).replace("sha256_", "", 1))
            if field and hashes:
                user.setdefault(field, hashes[0] if len(hashes) == 1 else hashes)
        else:
            add_plain(user, str(name), value)


def as_hex(value: str) -> str | None:
    """A SHA-256, written either way, as lower-case hex; None for anything else."""
    if _HEX.fullmatch(value):
        return value.lower()
    if not _BASE64.fullmatch(value):
        return None
    try:
        return urlsafe_b64decode(value.rstrip("=").translate({43: 45, 47: 95}) + "=").hex()
    except (binascii.Error, ValueError):
        return None


def _add(user: dict[str, Any], field: str, value: str) -> None:
    """One more of a field that may be several."""
    held = user.get(field)
    if held is None:
        user[field] = value
    elif isinstance(held, list):
        if value not in held:
            held.append(value)
    elif _HEX.fullmatch(str(held)) and held != value:
        user[field] = [held, value]
