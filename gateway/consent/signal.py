"""One consent signal: what a source says, before signals are ranked (gateway/consent/decide.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.config.models import SourceConsent
from gateway.receive.hit import Hit

AD_PURPOSES = ("ad_storage", "ad_user_data", "ad_personalization")


class Signal(NamedTuple):
    """What one source says.

    `kind` is the word of a source's `consent.read` list, or `restriction` for what only ever narrows and is always read;
    `choices` are granted or denied per purpose (unknown is left out); `opt_out` is a word about sale and sharing, None
    where it has none; `cookie` tells that it was kept on the device, not stated on the hit; `at` is when it was made;
    `tcf` is the TC string that it is, by which each vendor is judged.
    """

    name: str
    kind: str
    choices: Mapping[str, str]
    explicit: bool = True
    opt_out: bool | None = None
    cookie: bool = False
    at: str | None = None
    tcf: str | None = None


CARRIED = "checkout"
"""The kind of a consent that was decided before, in the same checkout (gateway/checkout.py): it always counts."""

Reader = Callable[[Mapping[str, Any], Hit, SourceConsent], Signal | None]
