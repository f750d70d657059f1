"""The ledgers of several nodes added up: each node keeps its own books, and the sum of balanced books balances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

_COUNTS = ("accepted", "logged", "same", "conflict", "backfilled", "delivered", "queued", "late")


def added(views: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One view of the same shape as `ledger()` from those of several nodes, by the nodes' names.

    A row balances when it does on every node; a problem names its node.
    """
    every = list(views.values())
    return {
        "balanced": all(view["balanced"] for view in every),
        "problems": [f"{node}: {problem}" for node, view in views.items() for problem in view["problems"]],
        "destinations": [_destination(rows) for rows in _grouped(every, "destinations", "destination")],
        "sources": [_row(rows, "source") for rows in _grouped(every, "sources", "source")],
        "events": [_event(rows) for rows in _grouped(every, "events", "event")],
    }


def _grouped(views: Sequence[Mapping[str, Any]], part: str, key: str) -> list[list[Mapping[str, Any]]]:
    rows: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for view in views:
        for row in view[part]:
            rows[row[key]].append(row)
    return [rows[name] for name in sorted(rows)]


def _row(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    made: dict[str, Any] = {key: rows[0][key], "balanced": all(row["balanced"] for row in rows)}
    made |= {name: sum(row[name] for row in rows) for name in _COUNTS if name in rows[0]}
    if "outcomes" in rows[0]:
        made["outcomes"] = _cells([row["outcomes"] for row in rows])
    return made


def _destination(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    made = _row(rows, "destination")
    made["confirmed"] = all(row["confirmed"] for row in rows)
    made["sources"] = [_row(group, "source") for group in _grouped(rows, "sources", "source")]
    return made


def _event(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lanes = sorted({lane for row in rows for lane in row["destinations"]})
    return {
        "event": rows[0]["event"],
        "destinations": {lane: _cells([row["destinations"].get(lane, []) for row in rows]) for lane in lanes},
        "duplicates": _cells([row["duplicates"] for row in rows]),
    }


def _cells(groups: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in (cell for group in groups for cell in group):
        key = (cell["outcome"], cell["reason"])
        if key in found:
            found[key]["events"] += cell["events"]
        else:
            found[key] = dict(cell)
    return list(found.values())
