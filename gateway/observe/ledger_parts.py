"""Parts of the ledger: one source of it, or one event name. Pure functions like the rest of it.

Per event name there are counters of outcomes and of what was logged, and none of what waits. So a part shows what became of the
events, and no equation: what is logged and has no outcome waits, or came before the destination began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config.words import hint, near
from gateway.errors import GatewayError
from gateway.event import CANONICAL_NAMES, CUSTOM
from gateway.queue.base import Audit, Counter


def of_source(audit: Audit, counters: Mapping[Counter, int], source: str) -> tuple[Audit, dict[Counter, int]]:
    """The rows of one source; what is wrong with the store stays. Raises GatewayError for a source that is not in the store."""
    known = [row.source for row in audit.sources]
    if source not in known:
        raise GatewayError(f"there is no source {source} in the store{hint(source, known, lead='there are')}")
    sources = tuple(row for row in audit.sources if row.source == source)
    lanes = tuple(row for row in audit.lanes if row.source == source)
    return Audit(sources, lanes, audit.problems), {key: n for key, n in counters.items() if key[0] == source}


def event_rows(view: Mapping[str, Any], counters: Mapping[Counter, int], event: str) -> dict[str, Any]:
    """One event name of a ledger's view, with how many were logged. Raises GatewayError for a name that has no counters."""
    if event not in CANONICAL_NAMES and event != CUSTOM:
        meant = near(event, CANONICAL_NAMES)
        words = f"; did you mean {meant}?" if meant else ""
        raise GatewayError(f"{event} is not counted by itself: events of one's own are counted together as {CUSTOM}{words}")
    found: dict[str, Any] = next((row for row in view["events"] if row["event"] == event), {})
    logged = sum(n for (_, lane, label, outcome, _), n in counters.items() if (lane, label, outcome) == ("", event, "logged"))
    confirmed = {row["destination"]: row["confirmed"] for row in view["destinations"]}
    return {
        "event": event,
        "logged": logged,
        "duplicates": found.get("duplicates", []),
        "destinations": [
            {"destination": lane, "confirmed": confirmed.get(lane, True), "outcomes": cells}
            for lane, cells in found.get("destinations", {}).items()
        ],
    }


def event_table(rows: Mapping[str, Any]) -> str:
    """One event name as text."""
    lines = [f"{rows['event']}: {rows['logged']:,} logged{_cells(rows['duplicates'], ', and ')}"]
    names = [row["destination"] + ("" if row["confirmed"] else " *") for row in rows["destinations"]]
    width = max(map(len, names), default=0)
    lines += [f"{name:<{width}}  {_cells(row['outcomes'])}" for name, row in zip(names, rows["destinations"], strict=True)]
    if not all(row["confirmed"] for row in rows["destinations"]):
        lines.append("* counted as delivered when sent: this vendor never says whether it took an event")
    return "\n".join(lines)


def _cells(cells: Sequence[Mapping[str, Any]], lead: str = "") -> str:
    text = " + ".join(f"{cell['events']:,} {cell['words']}" for cell in cells)
    return f"{lead}{text}" if text else ""
