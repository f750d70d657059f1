"""GPP strings (IAB Global Privacy Platform) and US privacy strings: their sections, and the opt-outs of the US ones.

    decode("DBABLA~CVQVAAAAAACA.YA")        # {7: "CVQVAAAAAACA.YA"}
    opt_out({7: "CVQVAAAAAACA.YA"})         # True

A header lists the ids of the sections in Fibonacci code; sections follow in that order. Section 2 holds a TC string
(gateway/consent/tcf.py), 6 a US privacy string, 7 to 27 the United States and their states: `US` says at which bit each has its
fields, all of two bits: 1 opted out (or "yes", or "no consent"), 2 did not.

An opt-out of sale, sharing or targeted advertising, the Gpc bit, and a child without consent opt out. "Did not opt out" counts
as said only where notice of it was given. Where the visitor's state is known and has a section in the string, that section
speaks for the United States; else the strictest of all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

from gateway.consent.bits import Bits, Unreadable

MAX_TEXT = 16 * 1024
TCF_EU, USP, NATIONAL = 2, 6, 7
_MAX_SECTION = 400
_USP = re.compile(r"1([YN-])([YN-])[YN-]", re.IGNORECASE)
_TYPE, _VERSION = 3, 1
OPTED_OUT, NOT_OPTED_OUT, GIVEN = 1, 2, 1


class Layout(NamedTuple):
    """Where a US section's core has its fields; `children` is (offset, entries); `gpc` tells of a Gpc segment."""

    state: str
    notice: int
    opt_outs: tuple[int, ...]
    children: tuple[int, int]
    gpc: bool


US: dict[int, Layout] = {
    7: Layout("", 8, (18, 20, 22), (56, 3), True),
    8: Layout("CA", 6, (12, 14), (34, 2), True),
    9: Layout("VA", 8, (12, 14), (32, 1), False),
    10: Layout("CO", 8, (12, 14), (30, 1), True),
    11: Layout("UT", 8, (14, 16), (34, 1), False),
    12: Layout("CT", 8, (12, 14), (32, 3), True),
    13: Layout("FL", 8, (12, 14), (32, 3), False),
    14: Layout("MT", 8, (12, 14), (32, 3), True),
    15: Layout("OR", 8, (12, 14), (38, 3), True),
    16: Layout("TX", 8, (12, 14), (32, 1), True),
    17: Layout("DE", 8, (12, 14), (34, 5), True),
    18: Layout("IA", 8, (14, 16), (34, 1), True),
    19: Layout("NE", 8, (12, 14), (32, 1), True),
    20: Layout("NH", 8, (12, 14), (32, 3), True),
    21: Layout("NJ", 8, (12, 14), (36, 5), True),
    22: Layout("TN", 8, (12, 14), (32, 1), True),
    23: Layout("MN", 8, (12, 14), (32, 1), True),
    24: Layout("MD", 12, (16, 18), (0, 0), True),
    25: Layout("IN", 12, (16, 18), (20, 1), False),
    26: Layout("KY", 12, (16, 18), (20, 1), False),
    27: Layout("RI", 12, (16, 18), (20, 1), False),
}
"""Section id → layout."""
_NATIONAL_V1_CHILDREN = (48, 2)
_STATES = {layout.state: number for number, layout in US.items() if layout.state}


class Said(NamedTuple):
    """What US sections say of sale: whether the visitor opted out, and which section decided."""

    opt_out: bool
    section: str


def decode(text: str) -> Mapping[int, str] | None:
    """Section id → its text; None for anything that is no GPP string, without an exception."""
    if len(text) > MAX_TEXT or not text.startswith("D"):
        return None
    return _remembered(text) if len(text) <= 2048 else _decoded(text)


def _decoded(text: str) -> Mapping[int, str] | None:
    header, *sections = text.split("~")
    try:
        ids = section_ids(header)
    except Unreadable:
        return None
    return {number: section for number, section in zip(ids, sections, strict=False) if section}


_remembered = lru_cache(maxsize=2048)(_decoded)


def section_ids(header: str) -> list[int]:
    """The ids that a header lists, ascending. Raises Unreadable."""
    bits = Bits(header)
    if bits.read(0, 6) != _TYPE or bits.read(6, 6) != _VERSION:
        raise Unreadable("no GPP header")
    at, last = 24, 0
    found: list[int] = []
    for _ in range(bits.read(12, 12)):
        wide = bits.read(at, 1)
        step, at = _fibonacci(bits, at + 1)
        start = end = last + step
        if wide:
            step, at = _fibonacci(bits, at)
            end = start + step
        if end > _MAX_SECTION:
            raise Unreadable("a section that there is not")
        found += range(start, end + 1)
        last = end
    return found


def _fibonacci(bits: Bits, at: int) -> tuple[int, int]:
    """A number in Fibonacci code, and where it ends: two ones in a row."""
    value, one, two, before = 0, 1, 2, 0
    while at < bits.length:
        bit = bits.read(at, 1)
        at += 1
        if bit and before:
            return value, at
        value += one if bit else 0
        one, two, before = two, one + two, bit
        if value > _MAX_SECTION:
            break
    raise Unreadable("a number that does not end")


def in_force(sections: Mapping[int, str], sid: str | None) -> dict[int, str]:
    """The sections that apply, by `gpp_sid` (`7_8`, `7,8`, `-1` for none); all where it does not say."""
    named = {int(part) for part in re.findall(r"-?\d{1,4}", sid or "", re.ASCII)}
    return {number: text for number, text in sections.items() if not named or number in named}


def opt_out(sections: Mapping[int, str], state: str | None = None) -> Said | None:
    """What the US sections say; None where none does."""
    own = _STATES.get(state or "")
    numbers: Collection[int] = sections.keys() & US.keys()
    if own is not None and own in numbers:
        numbers = [own]
    said = {_name(number): _of_section(number, sections[number]) for number in sorted(numbers)}
    if USP in sections:
        said["uspv1"] = us_privacy(sections[USP])
    for name, out in said.items():
        if out:
            return Said(True, name)
    return next((Said(False, name) for name, out in said.items() if out is False), None)


def _name(number: int) -> str:
    return "usnat" if number == NATIONAL else f"us{US[number].state.lower()}"


def _of_section(number: int, text: str) -> bool | None:
    """Whether a section opts out; False where it says that the visitor did not, None where it does not say."""
    layout = US[number]
    core, *others = text.split(".")
    try:
        bits = Bits(core)
        gpc = layout.gpc and any(_is_gpc(Bits(other)) for other in others[:3] if other)
    except Unreadable:
        return None
    children = _NATIONAL_V1_CHILDREN if number == NATIONAL and bits.read(0, 6) == 1 else layout.children
    fields = [bits.read(at, 2) for at in layout.opt_outs]
    child = any(bits.read(children[0] + 2 * n, 2) == OPTED_OUT for n in range(children[1]))
    if gpc or child or OPTED_OUT in fields:
        return True
    return False if NOT_OPTED_OUT in fields and bits.read(layout.notice, 2) == GIVEN else None


def _is_gpc(bits: Bits) -> bool:
    return bits.read(0, 2) == 1 and bits.read(2, 1) == 1


def us_privacy(text: str) -> bool | None:
    """`1YYN`: whether its third character opts out of sale; None where it does not apply or is no such string."""
    match = _USP.fullmatch(text)
    return None if match is None or match[2] == "-" else match[2] in "Yy"
