"""Withdrawals: choices that arrive on their own (`POST /v1/consent`) and hold for a person, not for a hit (design §6).

A person is known by any of the identifiers below; an event belongs to whoever shares one of them. The store holds salted
hashes only. E-mail and phone are compared in the form that vendors hash, so that a withdrawal of `Ada@Shop.example` also
holds for events that carry only the SHA-256 of `ada@shop.example`.

**How long.** A withdrawal of a purpose holds for every event of the person that was received up to the moment it is lifted,
also those that were received before it and still wait. Until it is lifted it holds for all that come; events received
after the lift are judged by their own consent again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b, sha256
from typing import Any

from gateway.clock import iso
from gateway.consent.gate import Need

Table = Mapping[bytes, Mapping[str, tuple[float, float]]]
"""subject → purpose → (withdrawn at, lifted at or 0): Store.withdrawals."""

NOT_OF_ONE_PERSON = frozenset(
    {"ga_measurement_id", "ga_session_id", "ga_session_number", "gad_source", "gad_campaignid", "srsltid"}
)
"""`ids` whose values many visitors share."""

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_SUBJECT_BYTES = 16


def subjects(salt: bytes, source: str, data: Mapping[str, Any]) -> list[bytes]:
    """The salted hashes by which an event's person may be known, of `user` and `ids`; empty for an anonymous event."""
    return list(
        dict.fromkeys(
            blake2b(f"{source}\0{kind}\0{value}".encode("utf-8", "replace"), key=salt[:64], digest_size=_SUBJECT_BYTES).digest()
            for kind, value in _identities(data)
        )
    )


def _identities(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    user = data.get("user", {})
    for key in ("id", "anonymous_id"):
        for value in _texts(user.get(key)):
            yield key, value
    for value in _texts(user.get("email")):
        yield "email", _hashed(value.lower())
    for value in _texts(user.get("phone")):
        if _HEX.fullmatch(value):
            yield "phone", value.lower()
        elif digits := re.sub(r"\D", "", value, flags=re.ASCII).lstrip("0"):
            yield "phone", _hashed(digits)
    for key, given in data.get("ids", {}).items():
        if key not in NOT_OF_ONE_PERSON:
            for value in _texts(given):
                yield f"ids.{key}", value


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for one in values if isinstance(one, (str, int)) and (text := str(one).strip())]


def _hashed(value: str) -> str:
    return value.lower() if _HEX.fullmatch(value) else sha256(value.encode("utf-8", "replace")).hexdigest()


def withdrawn_purposes(received: float, people: Iterable[bytes], table: Table) -> frozenset[str]:
    """The purposes that an event of these subjects may not be used for, by its time of receipt."""
    return frozenset(
        purpose
        for subject in people
        for purpose, (_, lifted) in table.get(subject, {}).items()
        if not lifted or received <= lifted
    )


def withdrawn(received: float, people: Iterable[bytes], need: Need, table: Table) -> str | None:
    """Which withdrawal keeps an event from a destination, in one sentence; None where none does."""
    if not table:
        return None
    for subject in people:
        held = table.get(subject)
        for purpose in need.requires if held else ():
            at, lifted = held.get(purpose, (0.0, 0.0)) if held else (0.0, 0.0)
            if at and (not lifted or received <= lifted):
                return f"{purpose} was withdrawn at {iso(at)}"
    return None
