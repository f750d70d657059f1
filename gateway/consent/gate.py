"""The gate: whether one destination may have one event, by the event's own consent block (consent sheet §8). Pure.

Unknown counts as denied. A sale opt-out closes destinations that require an ad purpose, unless the customer chose
`on_opt_out: limit`: then the event goes, and the mapping adds the vendor's limited-data flag.

An event that came with a TC string goes to a vendor of the IAB's list only where the string allows that vendor every purpose it
needs (gateway/consent/tcf.py). A vendor that is not listed may have what the purposes alone grant where the customer's file
says `purposes_only: true`; else an event whose purposes the string decided is kept from it.

The answer is a sentence that names the deciding signal: `ad_storage is denied (event)`, `ad_user_data is unknown: no signal on
the hit`, `sale opt-out (GPC)`, `vendor 755 has no consent (TC string)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.models import DestinationConfig
from gateway.consent import tcf

if TYPE_CHECKING:
    from gateway.manifest import Manifest

WITHDRAWAL = "withdrawal"
"""The source's name where a choice that arrived on its own denied a purpose."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a destination asks of consent: the manifest's rules narrowed by the customer's file.

    `requires` are the purposes that must be granted; `ads` tells that one of them is an ad purpose; `on_opt_out` is skip
    or limit; `tcf_vendor` or, where there is none, `purposes_only` say how a TC string is judged.
    """

    requires: tuple[str, ...]
    ads: bool = False
    on_opt_out: str = "skip"
    tcf_vendor: int | None = None
    purposes_only: bool = False

    @property
    def closes_on_opt_out(self) -> bool:
        """Whether a sale opt-out alone keeps events away."""
        return self.ads and self.on_opt_out == "skip"


def need_of(manifest: Manifest, config: DestinationConfig) -> Need:
    """What a configured destination needs; what the customer's file leaves out is the manifest's."""
    own = config.consent
    requires = tuple(manifest.consent.requires if own.requires is None else own.requires)
    return Need(
        requires=requires,
        ads=any(purpose.startswith("ad_") for purpose in requires),
        on_opt_out=own.on_opt_out,
        tcf_vendor=manifest.consent.tcf_vendor if own.tcf_vendor is None else own.tcf_vendor,
        purposes_only=own.purposes_only,
    )


def refuses(consent: Mapping[str, Any], need: Need) -> str | None:
    """Why the destination may not have the event, in one sentence; None where it may."""
    for purpose in need.requires:
        state = consent.get(purpose, "unknown")
        if state == "denied":
            return f"{purpose} is denied ({_deciders(consent, purpose)})"
        if state != "granted":
            return f"{purpose} is unknown: {_silence(consent)}"
    if need.requires and "tcf" in consent and (reason := _by_strings(consent, need)):
        return reason
    if need.closes_on_opt_out and consent.get("sale_opt_out"):
        return f"sale opt-out ({_deciders(consent, 'sale_opt_out')})"
    return None


def _by_strings(consent: Mapping[str, Any], need: Need) -> str | None:
    """Why the TC strings of the event keep it from this destination; None where they do not."""
    strings = consent["tcf"].get("strings", ())
    if need.tcf_vendor is None:
        if need.purposes_only:
            return None
        names = {one["name"] for one in strings}
        deciding = {name for purpose in need.requires for name in _deciders(consent, purpose).split(", ")} & names
        words = "decides, and the destination has neither consent.tcf_vendor nor consent.purposes_only"
        return f"a TC string {words} ({', '.join(sorted(deciding))})" if deciding else None
    for one in strings:
        tc = tcf.decode(one["string"])
        if tc is not None and (reason := tcf.refuses(tc, need.requires, need.tcf_vendor)):
            return f"{reason} ({one['name']})"
    return None


def _silence(consent: Mapping[str, Any]) -> str:
    """Why a purpose is unknown."""
    unread = [str(source["name"]) for source in consent.get("sources", ()) if source.get("unreadable")]
    return f"{unread[0]} cannot be read by a server; the page has to say it" if unread else "no signal on the hit"


def _deciders(consent: Mapping[str, Any], purpose: str) -> str:
    """The names of the signals that decided a purpose; a withdrawal decides alone."""
    names = [str(source.get("name")) for source in consent.get("sources", ()) if purpose in source.get("purposes", ())]
    if WITHDRAWAL in names:
        return WITHDRAWAL
    return ", ".join(names) or "event"
