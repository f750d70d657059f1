"""The gate: whether one destination may have one event, by the event's own consent block (consent sheet §8). Pure.

Unknown counts as denied. A sale opt-out closes destinations that require an ad purpose, unless the customer chose
`on_opt_out: limit`: then the event goes, and the mapping adds the vendor's limited-data flag.

The answer is a sentence that names the deciding signal: `ad_storage is denied (event)`, `ad_user_data is unknown: no signal on
the hit`, `sale opt-out (GPC)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.models import DestinationConfig

if TYPE_CHECKING:
    from gateway.manifest import Manifest

WITHDRAWAL = "withdrawal"
"""The source's name where a choice that arrived on its own denied a purpose."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a destination asks of consent: the manifest's rules narrowed by the customer's file.

    `requires` are the purposes that must be granted; `ads` tells that one of them is an ad purpose; `on_opt_out` is skip
    or limit; `tcf_vendor` or `purposes_only` say how a TC string is judged.
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
            return f"{purpose} is unknown: no signal on the hit"
    if need.closes_on_opt_out and consent.get("sale_opt_out"):
        return f"sale opt-out ({_deciders(consent, 'sale_opt_out')})"
    return None


def _deciders(consent: Mapping[str, Any], purpose: str) -> str:
    """The names of the signals that decided a purpose; a withdrawal decides alone."""
    names = [str(source.get("name")) for source in consent.get("sources", ()) if purpose in source.get("purposes", ())]
    if WITHDRAWAL in names:
        return WITHDRAWAL
    return ", ".join(names) or "event"
