"""Google's Consent Mode on a hit: `gcd`, `gcs`, `npa` and `dma_cps`, per purpose. Pure; what cannot be read says nothing.

`gcd` is `1`, four pairs of a digit (no meaning) and a letter, and a tail (no meaning). The place of a letter in the URL-safe
base64 alphabet is three two-bit codes, of which the last two are the page's default and the visitor's update (1 not set, 2
denied, 3 granted): an update is a choice, a default is none, and a letter with neither (`l`, all four where a site has no
Consent Mode) says nothing. `gcs` is `G1` and two marks of 1, 0 or `-`; it repeats the two storage purposes without saying who
chose.

Where `gcd` and `gcs` disagree the denial holds. `npa=1` denies ad_personalization; `dma=1` without `a` in `dma_cps` denies
ad_user_data. Such a denial has the rank of what it narrows, and is a choice where nothing else spoke of the purpose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

PURPOSES = ("ad_storage", "analytics_storage", "ad_user_data", "ad_personalization")
"""In the order of the letters of `gcd`."""
STORAGE = ("ad_storage", "analytics_storage")
"""In the order of the marks of `gcs`."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_CODES = {2: "denied", 3: "granted"}
_GCD = re.compile(r"1\d([A-Za-z])\d([A-Za-z])\d([A-Za-z])\d([A-Za-z])[A-Za-z0-9]{0,20}", re.ASCII)
_KNOWN = frozenset("pqrtuvmn")
"""Letters that were seen on hits and say something; any other is unknown."""
_GCS = re.compile(r"G1([01-])([01-])")
_MARKS = {"1": "granted", "0": "denied"}


class Said(NamedTuple):
    """One purpose's state: granted or denied, whether the visitor chose it, and the parameter that says so."""

    choice: str
    explicit: bool
    name: str


def said(raw: Mapping[str, Any]) -> dict[str, Said]:
    """What the parameters say, per purpose; a purpose of which they say nothing is absent.

    >>> said({"gcd": "13q3v3q3m5l1"})["ad_storage"]
    Said(choice='denied', explicit=True, name='gcd')
    """
    states = _letters(_text(raw, "gcd"))
    if marks := _GCS.fullmatch(_text(raw, "gcs")):
        for purpose, mark in zip(STORAGE, marks.groups(), strict=True):
            if mark == "0":
                _deny(states, purpose, "gcs", alone=False)
            elif mark == "1":
                states.setdefault(purpose, Said("granted", False, "gcs"))
    if _text(raw, "npa") == "1":
        _deny(states, "ad_personalization", "npa", alone=True)
    if _text(raw, "dma") == "1" and "a" not in _text(raw, "dma_cps"):
        _deny(states, "ad_user_data", "dma_cps", alone=True)
    return states


def _letters(gcd: str) -> dict[str, Said]:
    states = {}
    if match := _GCD.fullmatch(gcd):
        for purpose, letter in zip(PURPOSES, match.groups(), strict=True):
            index = _ALPHABET.index(letter) if letter in _KNOWN else 0
            default, update = _CODES.get(index >> 2 & 3), _CODES.get(index & 3)
            if update:
                states[purpose] = Said(update, True, "gcd")
            elif default:
                states[purpose] = Said(default, False, "gcd default")
    return states


def _deny(states: dict[str, Said], purpose: str, name: str, *, alone: bool) -> None:
    """Narrow a purpose; `alone` tells that the denial is a choice where nothing else spoke."""
    held = states.get(purpose)
    if held is None:
        states[purpose] = Said("denied", alone, name)
    elif held.choice == "granted":
        states[purpose] = Said("denied", held.explicit, name)


def whereabouts(raw: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(country, region) as the page knew them from its tagging server: `ur=US-CA`, `_uc=IL`; None for what is not said.

    A weak word, for the jurisdiction alone, where nothing better names the country.
    """
    country, _, region = (_text(raw, "ur") or _text(raw, "_uc")).upper().partition("-")
    return (country, region or None) if re.fullmatch("[A-Z]{2}", country) else (None, None)


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""
