"""The words an emulator's rules are written in: small checks that say what is wrong with a value, and where.

A check is a function `(value, path) -> faults`. `shape`, `listing` and `one_or_many` build checks out of checks, so that a
vendor's rules are a table that reads like its documentation.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard

Path = tuple[str | int, ...]
HEX64 = re.compile(r"[0-9a-f]{64}")
ANY_HEX64 = re.compile(r"[0-9A-Fa-f]{64}")
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_URL = re.compile(r"https?://[^/\s?#]+\S*")


class Kind(StrEnum):
    """What sort of fault; each vendor has its own words for the first two."""

    REQUIRED = "required"
    UNKNOWN = "unknown"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that a vendor would refuse. `code` is the vendor's own, where it has one for this."""

    path: Path
    kind: Kind
    message: str
    code: str | int = ""

    def under(self, *parents: str | int) -> Fault:
        """The same fault seen from further out."""
        return Fault((*parents, *self.path), self.kind, self.message, self.code)


Check = Callable[[Any, Path], Iterator[Fault]]


def rule(test: Callable[[Any], object], message: str, code: str | int = "") -> Check:
    """A value for which `test` is not true is invalid."""

    def check(value: Any, path: Path) -> Iterator[Fault]:
        if not test(value):
            yield Fault(path, Kind.INVALID, message, code)

    return check


def anything(_value: Any, _path: Path) -> Iterator[Fault]:
    """No rule."""
    return iter(())


def shape(fields: Mapping[str, Check], required: Iterable[str] = (), extra: Check | None = None) -> Check:
    """An object. Keys that are not listed go to `extra`, or are faults without it."""
    needed = tuple(required)

    def check(value: Any, path: Path) -> Iterator[Fault]:
        if not isinstance(value, dict):
            yield Fault(path, Kind.INVALID, "must be an object")
            return
        for key in needed:
            if value.get(key) in (None, "", [], {}):
                yield Fault((*path, key), Kind.REQUIRED, "is required")
        for key, item in value.items():
            if key in needed and item in (None, "", [], {}):
                continue
            found = fields.get(key, extra)
            if found is None:
                yield Fault((*path, key), Kind.UNKNOWN, "is no field of this API")
            else:
                yield from found(item, (*path, key))

    return check


def listing(item: Check, at_least: int = 0, at_most: int | None = None, code: str | int = "") -> Check:
    """A list of so many items."""

    def check(value: Any, path: Path) -> Iterator[Fault]:
        if not isinstance(value, list):
            yield Fault(path, Kind.INVALID, "must be a list", code)
        elif len(value) < at_least:
            yield Fault(path, Kind.INVALID, f"must hold at least {at_least}", code)
        elif at_most is not None and len(value) > at_most:
            yield Fault(path, Kind.INVALID, f"must hold at most {at_most}", code)
        else:
            for index, one in enumerate(value):
                yield from item(one, (*path, index))

    return check


def one_or_many(item: Check) -> Check:
    """A value, or a list of at least one."""
    many = listing(item, at_least=1)

    def check(value: Any, path: Path) -> Iterator[Fault]:
        return many(value, path) if isinstance(value, list) else item(value, path)

    return check


def is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_email(value: Any) -> bool:
    return isinstance(value, str) and bool(_EMAIL.fullmatch(value.strip()))


def is_address(value: Any) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return isinstance(value, str)


def hashed(value: Any, path: Path) -> Iterator[Fault]:
    """SHA-256 in lower-case hex, of something."""
    if value == EMPTY_SHA256:
        yield Fault(path, Kind.INVALID, "is the hash of nothing: leave the field out when there is no value")
    elif is_email(value):
        yield Fault(path, Kind.INVALID, "is an e-mail address in the clear where a SHA-256 hash is due")
    elif not (isinstance(value, str) and HEX64.fullmatch(value)):
        yield Fault(path, Kind.INVALID, "must be SHA-256 as 64 lower-case hex digits")


def clear(value: Any, path: Path) -> Iterator[Fault]:
    """Text that must not be hashed, nor be an e-mail address."""
    if not is_text(value):
        yield Fault(path, Kind.INVALID, "must be text")
    elif ANY_HEX64.fullmatch(value):
        yield Fault(path, Kind.INVALID, "must not be hashed")
    elif is_email(value):
        yield Fault(path, Kind.INVALID, "is an e-mail address, which does not belong here")


text = rule(is_text, "must be text")
integer = rule(is_integer, "must be a whole number")
count = rule(lambda v: is_integer(v) and v >= 0, "must be a whole number, not negative")
number = rule(is_number, "must be a number")
boolean = rule(lambda v: isinstance(v, bool), "must be true or false")
address = rule(is_address, "must be an IP address")
url = rule(lambda v: isinstance(v, str) and _URL.fullmatch(v), "must be a whole http(s) address")
currency = rule(
    lambda v: isinstance(v, str) and re.fullmatch("[A-Z]{3}", v), "must be an ISO 4217 code in upper case, such as EUR"
)


def one_of(*values: Any) -> Check:
    """One of a closed list."""
    return rule(
        lambda v: any(v == one and type(v) is type(one) for one in values), f"must be one of {', '.join(map(str, values))}"
    )
