"""What stands on top of the page: the equation per destination with its lane, the sources, and what needs a look.

Counted from the books in memory, so that it costs nothing to ask every second; `tagway audit` counts every row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.config.warnings import warnings
from gateway.observe.ledger import ledger
from gateway.observe.log import secrets_of
from gateway.page.mask import Mask

if TYPE_CHECKING:
    from gateway.app import Tagway

_STATES = {
    "running": "running",
    "open": "vendor is down",
    "paused": "paused",
    "parked": "not configured any more",
    "off": "off",
}
_MODES = {"test": "test events", "dry_run": "dry run: nothing is sent", "off": "off"}


class Overview:
    """The top of the page for one gateway. `mask` is made anew for every configuration, with its secrets."""

    def __init__(self, gateway: Tagway) -> None:
        self._gateway = gateway
        self._hash: str | None = None
        self._mask = Mask()
        self._standing: list[tuple[str, str]] = []

    @property
    def mask(self) -> Mask:
        """The mask of the configuration in use."""
        self._look()
        return self._mask

    def _look(self) -> None:
        config = self._gateway.config
        if config.hash == self._hash:
            return
        self._hash, self._mask = config.hash, Mask(secrets_of(config))
        held = [(held.kind, held.name, problem) for held in config.held for problem in held.problems]
        self._standing = [("error", f"{kind} {name} is held: {problem}") for kind, name, problem in held]
        self._standing += [("info", str(problem)) for problem in warnings(config)]

    def to_json(self) -> dict[str, Any]:
        """JSON values; `destinations` in the order of the configuration, parked lanes last."""
        gateway = self._gateway
        view = ledger(gateway.store.books(), {}, gateway.unconfirmed())
        rows = {row["destination"]: row for row in view["destinations"]}
        lanes = [lane_row(lane, self.mask) for lane in gateway.lane_report()]
        return {
            "balanced": view["balanced"],
            "destinations": [_destination(gateway, lane, rows.get(lane["destination"])) for lane in lanes],
            "sources": view["sources"],
            "notices": self.notices(),
            "try": try_it(gateway),
            "config": gateway.config.hash[:12],
            "guarded": bool(gateway.config.admin.token.get_secret_value()),
        }

    def notices(self) -> list[dict[str, str]]:
        """What needs a look, worst first: a full store, held files, "behind a proxy?", consent, warnings of the files."""
        self._look()
        found = [("warning", words) for words in (*self._gateway.door.notes(), *self._gateway.consent_watch.notes().values())]
        if self._gateway.store.full:
            found.insert(0, ("error", "The store is full: hits are refused until there is room again."))
        found += self._standing
        found.sort(key=lambda one: ("error", "warning", "info").index(one[0]))
        return [{"level": level, "words": self._mask.text(words)} for level, words in found]


def lane_row(lane: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """A lane's report in words; a reason may quote the vendor."""
    return {
        **lane,
        "words": _STATES.get(lane["state"], lane["state"]),
        "reason": mask.text(lane["reason"]),
        "last_failure": mask.text(lane["last_failure"]),
        "mode_words": _MODES.get(lane["mode"], ""),
    }


def _destination(gateway: Tagway, lane: dict[str, Any], row: dict[str, Any] | None) -> dict[str, Any]:
    empty = {"accepted": 0, "backfilled": 0, "delivered": 0, "outcomes": [], "queued": 0, "late": 0, "balanced": True}
    equation = {key: value for key, value in (row or {**empty, "confirmed": True}).items() if key != "sources"}
    config = gateway.config.destinations.get(lane["destination"])
    note = gateway.consent_watch.notes().get(lane["destination"])
    return {**lane, "equation": equation, "reads": list(config.sources) if config else [], "note": note or ""}


def try_it(gateway: Tagway) -> str:
    """A curl line that makes a first event; write keys are public."""
    source = next(iter(gateway.config.sources.values()), None)
    keys = source.write_keys if source else []
    key = f"?k={keys[0]}" if keys else ""
    host = gateway.addresses.get("public", gateway.config.listen).replace("0.0.0.0", "127.0.0.1")
    hit = (
        '{"name":"purchase","ids":{"ga_client_id":"1.2"},"props":{"transaction_id":"1001","value":42.5,"currency":"EUR"},'
        '"consent":{"ad_storage":"granted","ad_user_data":"granted","analytics_storage":"granted"}}'
    )
    return f"curl -s 'http://{host}/v1/events{key}' -H 'Content-Type: application/json' -d '{hit}'"
