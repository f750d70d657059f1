"""Click ids that a visitor came with, kept for the visits after: the five newest, each as long as its platform counts it.

    1|gclid:Cj0KCQ:1795500000|fbclid:IwAR0:1795000000

A new click of a platform replaces its old one; other platforms' stay. The time is that of the first sight. What the event, its
URL or the platform's own cookie says goes before what is kept here, and no kept id joins another click of its platform.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

DAY = 86400
MOST = 5
MAX_TEXT = 3500
_GOOGLE = ("gclid", "gbraid", "wbraid", "dclid")
PLATFORM = {
    **dict.fromkeys(_GOOGLE, "google"),
    **dict.fromkeys(("yclid", "ysclid"), "yandex"),
    **dict.fromkeys(("obclid", "dicbo"), "outbrain"),
    **dict.fromkeys(("cto_pld", "cto_bundle"), "criteo"),
}
"""Of platforms with several ids: id → platform."""
LIFE = {
    **dict.fromkeys((*_GOOGLE, "fbclid", "msclkid", "rdt_cid"), 90),
    **dict.fromkeys(
        (
            "ttclid",
            "twclid",
            "li_fat_id",
            "obclid",
            "dicbo",
            "tblci",
            "irclickid",
            "awc",
            "ran_site_id",
            "sscid",
            "qclid",
            "yclid",
            "ysclid",
            "vmcid",
        ),
        30,
    ),
    "sccid": 28,
    "epik": 365,
    **dict.fromkeys(("cjevent", "cto_pld", "cto_bundle"), 395),
}
"""`ids` key of a click id → days; what is not here is not kept."""
_ENTRY = re.compile(r"([a-z_]{3,20}):([A-Za-z0-9._~=+/-]{1,512}):(\d{9,11})", re.ASCII)


class Click(NamedTuple):
    """One kept id; `at` is epoch seconds."""

    name: str
    value: str
    at: int

    @property
    def platform(self) -> str:
        """Whose click it is."""
        return PLATFORM.get(self.name, self.name)

    def ends(self) -> int:
        """When it is too old to be used."""
        return self.at + LIFE[self.name] * DAY


def read(text: str | None, now: float) -> tuple[Click, ...]:
    """The clicks of a cookie that still count, newest first."""
    if not text or not text.startswith("1|"):
        return ()
    found = (_ENTRY.fullmatch(part) for part in text[2:].split("|", MOST)[:MOST])
    clicks = [Click(match[1], match[2], int(match[3])) for match in found if match and match[1] in LIFE]
    return tuple(click for click in clicks if click.at <= now + DAY and click.ends() > now)


def written(clicks: Iterable[Click]) -> str:
    """The cookie's value."""
    return "|".join(("1", *(f"{name}:{value}:{at}" for name, value, at in clicks)))


def seen(kept: tuple[Click, ...], ids: Mapping[str, str], now: float) -> tuple[Click, ...]:
    """The clicks after a page was seen with these ids in its URL."""
    known = {(click.name, click.value) for click in kept}
    fresh = [Click(name, value, int(now)) for name, value in ids.items() if name in LIFE and (name, value) not in known]
    if not fresh:
        return kept
    together = {(name, value) for name, value in ids.items()}
    platforms = {click.platform for click in fresh}
    stay = [click for click in kept if click.platform not in platforms or (click.name, click.value) in together]
    clicks = [*fresh, *stay][:MOST]
    while len(written(clicks)) > MAX_TEXT:
        clicks.pop()
    return tuple(clicks)


def filling(kept: Iterable[Click], ids: Mapping[str, object]) -> dict[str, str]:
    """The kept ids that an event lacks, of platforms of which it has no click of its own."""
    spoken = {PLATFORM.get(name, name) for name in ids if name in LIFE}
    return {click.name: click.value for click in kept if click.platform not in spoken}


def is_of(known: Set[tuple[str, str]], name: str, value: str) -> bool:
    """Whether an id is no click at all, or one of the `known` clicks (name and value); of an `fbc` its `fbclid` counts."""
    if name == "fbc":
        return ("fbclid", value.split(".")[3]) in known
    return name not in LIFE or (name, value) in known


def left(clicks: Iterable[Click], now: float) -> int:
    """Seconds until the last of them is too old."""
    return max((int(click.ends() - now) for click in clicks), default=0)
