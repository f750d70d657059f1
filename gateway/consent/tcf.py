"""TC strings (IAB TCF 2.x): decoding one, what it says per purpose of ours, and whether one vendor may have an event.

    tc = decode("CQuMEMAQ…")                  # None for what is no TC string
    choices(tc)                               # {"ad_storage": "granted", "analytics_storage": "denied", …}
    refuses(tc, ("ad_storage",), 755)         # a sentence, or None where the vendor may have it

The layout is data of the specification (consent sheet §2); segments know themselves by a type of three bits: disclosed
vendors, publisher's own purposes. Hostile strings are bounded: 16 KiB, 65,535 ids, 200,000 steps.

- **Purposes**: `ad_storage` is purpose 1; `ad_user_data` 1 and 7; `ad_personalization` 3 and 4; `analytics_storage` 1 and one
  of 8 and 9, of the publisher's own purposes where the string has any, since these say what the site itself may do.
- **Consent alone counts**: legitimate interest never grants. A vendor needs the visitor's consent to each purpose and to
  itself, no restriction of the publisher against it, and a place among the disclosed vendors where the string lists them.
- **No signal** is what is not for one service (invalid since 2021), older than 13 months, or of a later day than tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from gateway.consent.bits import Bits, Ids, Unreadable, ranges, vendors

MAX_TEXT = 16 * 1024
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 2048
"""Longer strings are read anew each time: hostile ones must not fill the memory."""
MAX_AGE = 396 * 86400.0
"""13 months."""
AHEAD = 86400.0
OLDEST_POLICY = 4
DISCLOSED_SINCE = 1772323200
"""2026-03-01: strings made since must say which vendors were shown."""
NOT_ALLOWED, REQUIRE_INTEREST = 0, 2
NEEDS: dict[str, tuple[tuple[int, ...], ...]] = {
    "ad_storage": ((1,),),
    "ad_user_data": ((1,), (7,)),
    "ad_personalization": ((3,), (4,)),
    "analytics_storage": ((1,), (8, 9)),
}
"""Purpose of ours → TCF purposes that it needs: one of each group."""
_START = re.compile(r"C[A-Za-z0-9_-]{35}")
_CORE_BITS = 213


class Restriction(NamedTuple):
    """What the publisher forbids vendors for one purpose: type 0 not allowed, 1 by consent only, 2 by interest only."""

    purpose: int
    kind: int
    vendors: Ids


class Tc(NamedTuple):
    """A decoded string. Purposes are masks: bit n is purpose n; times are epoch seconds.

    `publisher` are the purposes that the visitor allowed the site itself, None where the string does not say;
    `disclosed` the vendors that were shown, None where it does not.
    """

    created: float
    updated: float
    cmp: int
    list_version: int
    policy: int
    service_specific: bool
    special: int
    purposes: int
    interests: int
    vendors: Ids
    vendor_interests: Ids
    restrictions: tuple[Restriction, ...]
    disclosed: Ids | None = None
    publisher: int | None = None

    def valid(self, now: float) -> bool:
        """Whether it is a signal at a time."""
        return self.service_specific and now - MAX_AGE <= self.updated <= now + AHEAD

    def flags(self) -> list[str]:
        """What is odd about it though it counts: `policy` is an old one, `disclosed` vendors are missing."""
        return [
            *(["policy"] if self.policy < OLDEST_POLICY else []),
            *(["disclosed"] if self.disclosed is None and self.created >= DISCLOSED_SINCE else []),
        ]


def decode(text: str) -> Tc | None:
    """A TC string; None for anything else, without an exception."""
    if len(text) > MAX_TEXT or not _START.match(text):
        return None
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _decoded(text)


def _decoded(text: str) -> Tc | None:
    core, *others = text.split(".")
    try:
        tc = _core(Bits(core))
        for other in others[:3]:
            tc = _with_segment(tc, Bits(other)) if other else tc
    except Unreadable:
        return None
    return tc


_remembered = lru_cache(maxsize=_REMEMBERED)(_decoded)


def _core(bits: Bits) -> Tc:
    if bits.read(0, 6) != 2 or bits.length < _CORE_BITS:
        raise Unreadable("no string of TCF 2")
    allowed, at = vendors(bits, _CORE_BITS)
    interested, at = vendors(bits, at)
    return Tc(
        created=bits.read(6, 36) / 10,
        updated=bits.read(42, 36) / 10,
        cmp=bits.read(78, 12),
        list_version=bits.read(120, 12),
        policy=bits.read(132, 6),
        service_specific=bool(bits.read(138, 1)),
        special=bits.set_bits(140, 12),
        purposes=bits.set_bits(152, 24),
        interests=bits.set_bits(176, 24),
        vendors=allowed,
        vendor_interests=interested,
        restrictions=_restrictions(bits, at),
    )


def _restrictions(bits: Bits, at: int) -> tuple[Restriction, ...]:
    count = bits.read(at, 12)
    at += 12
    found = []
    for _ in range(count):
        if at >= bits.length:
            raise Unreadable("ends inside the publisher's restrictions")
        purpose, kind = bits.read(at, 6), bits.read(at + 6, 2)
        bits.spend(1)
        listed, at = ranges(bits, at + 8)
        found.append(Restriction(purpose, kind, listed))
    return tuple(found)


def _with_segment(tc: Tc, bits: Bits) -> Tc:
    kind = bits.read(0, 3)
    if kind == 1:
        return tc._replace(disclosed=vendors(bits, 3)[0])
    if kind == 3:
        return tc._replace(publisher=bits.set_bits(3, 24))
    return tc


def choices(tc: Tc) -> dict[str, str]:
    """What the string says of each purpose that it knows: granted or denied."""
    said = choices_of(tc.purposes)
    if tc.publisher:
        said["analytics_storage"] = choices_of(tc.publisher)["analytics_storage"]
    return said


def choices_of(purposes: int) -> dict[str, str]:
    """Our purposes out of a mask of TCF purposes."""
    return {purpose: "granted" if _meets(purposes, groups) else "denied" for purpose, groups in NEEDS.items()}


def _meets(purposes: int, groups: Iterable[Sequence[int]]) -> bool:
    return all(any(purposes >> number & 1 for number in group) for group in groups)


def refuses(tc: Tc, requires: Sequence[str], vendor: int) -> str | None:
    """Why a vendor may not have an event for these purposes of ours, in words; None where it may."""
    if tc.disclosed is not None and vendor not in tc.disclosed:
        return f"vendor {vendor} was not shown to the visitor"
    if vendor not in tc.vendors:
        return f"vendor {vendor} has no consent"
    allowed = tc.purposes & ~_restricted(tc, vendor)
    for purpose in requires:
        for group in NEEDS.get(purpose, ()):
            if not _meets(allowed, (group,)):
                numbers = " or ".join(str(number) for number in group)
                if _meets(tc.purposes, (group,)):
                    return f"the publisher keeps purpose {numbers} from vendor {vendor}, and {purpose} needs it"
                return f"purpose {numbers} has no consent, and {purpose} needs it"
    return None


def _restricted(tc: Tc, vendor: int) -> int:
    """A mask of the purposes that the publisher keeps from a vendor that goes by consent."""
    mask = 0
    for restriction in tc.restrictions:
        if restriction.kind in (NOT_ALLOWED, REQUIRE_INTEREST) and vendor in restriction.vendors:
            mask |= 1 << restriction.purpose
    return mask
