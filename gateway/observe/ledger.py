"""The ledger as people and programs read it: pure functions over what the store counted (design §7).

Every event a destination could have had stands in exactly one place of its row:

    accepted = delivered + each outcome + queued

`ledger()` gives the whole view as plain JSON values (the body of `/ledger`, and of `tagway audit --json`); `table()` prints
it. A figure of a vendor that never says whether it took an event (`confirms: none`) carries a `*`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.queue.base import Audit, Counter, LaneCount, SourceCount

Key = tuple[str, str]
"""(outcome, reason)"""
DELIVERED: Key = ("delivered", "")

_FAILURE_WORDS = {
    "vendor_4xx": "4xx",
    "vendor_code": "error code",
    "auth": "no access",
    "rate": "rate limit",
    "vendor_5xx": "5xx",
    "timeout": "timeout",
    "connect": "no connection",
    "tls": "TLS",
    "dns": "DNS",
    "mapping": "mapping",
    "too_large": "too large",
}
WORDS: dict[Key, str] = {
    ("delivered", ""): "delivered",
    ("skipped", "disabled"): "disabled",
    ("skipped", "bot"): "bot",
    ("skipped", "loop"): "sent by the page",
    ("skipped", "consent"): "no consent",
    ("skipped", "filter"): "filtered",
    ("skipped", "share"): "outside share",
    ("skipped", "mode"): "dry run or off",
    ("skipped", "unmapped"): "not mapped",
    ("skipped", "incomplete"): "incomplete",
    ("expired", "age"): "too old",
    ("expired", "retention"): "retention",
    ("expired", "space"): "no room",
    **{("rejected", reason): f"rejected ({words})" for reason, words in _FAILURE_WORDS.items()},
    **{("dead", reason): f"given up ({words})" for reason, words in _FAILURE_WORDS.items()},
    ("withdrawn", ""): "withdrawn",
    ("erased", ""): "erased",
    ("duplicate", "same"): "same again",
    ("duplicate", "conflict"): "same id, other content",
}
"""Each outcome in a word or two: the columns of the table."""

FAILURES = {
    "vendor_4xx": "the vendor answered that the request is wrong",
    "vendor_code": "the vendor's answer carried an error code",
    "auth": "the vendor does not accept the token or its rights",
    "rate": "the vendor's rate limit",
    "vendor_5xx": "the vendor had an error of its own",
    "timeout": "the vendor did not answer in time",
    "connect": "no connection to the vendor",
    "tls": "no trusted TLS connection to the vendor",
    "dns": "the vendor's host name could not be resolved",
    "mapping": "the mapping could not build a payload",
    "too_large": "the payload is larger than the vendor takes",
}
"""The reasons that `rejected` and `dead` share."""
SENTENCES: dict[Key, str] = {
    ("delivered", ""): "The vendor took it.",
    ("skipped", "disabled"): "No file configures the destination any more.",
    ("skipped", "bot"): "The visitor looks like a bot.",
    ("skipped", "loop"): "The page itself has sent this event to the vendor.",
    ("skipped", "consent"): "The visitor did not allow what this destination needs.",
    ("skipped", "filter"): "A condition, a rule of the mapping or the hit's own list of destinations leaves it out.",
    ("skipped", "share"): "The visitor is outside the configured share.",
    ("skipped", "mode"): "The destination is off, or runs dry: the request is built and not sent.",
    ("skipped", "unmapped"): "The mapping does not list this event.",
    ("skipped", "incomplete"): "The event lacks a value that the vendor requires.",
    ("expired", "age"): "It became older than the vendor takes.",
    ("expired", "retention"): "It waited longer than events are kept.",
    ("expired", "space"): "It had to make room: the store reached its size limit.",
    **{("rejected", reason): f"Refused for good: {words}." for reason, words in FAILURES.items()},
    **{("dead", reason): f"Given up after many tries: {words}." for reason, words in FAILURES.items()},
    ("withdrawn", ""): "The visitor withdrew consent before it was sent.",
    ("erased", ""): "The person was erased before it was sent.",
    ("duplicate", "same"): "The same event came before; it was kept once.",
    ("duplicate", "conflict"): "The same id came before with other content; the second is kept with the dead letters.",
}
"""Each outcome in a sentence: the page, `explain`."""
_FOOTNOTE = "* counted as delivered when sent: this vendor never says whether it took an event"


def reason_words(outcome: str, reason: str = "") -> str:
    """`("skipped", "consent")` → `no consent`. Raises KeyError for what is no outcome."""
    return WORDS[(outcome, reason)]


def reason_sentence(outcome: str, reason: str = "") -> str:
    """`("skipped", "consent")` → `The visitor did not allow what this destination needs.` Raises KeyError."""
    return SENTENCES[(outcome, reason)]


def ledger(audit: Audit, counters: Mapping[Counter, int], unconfirmed: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The whole view, of JSON values only; `balanced` decides the exit code of `tagway audit`.

    `unconfirmed` are the destinations whose vendor never confirms. Per destination: the equation over all its sources,
    then one per source, so that errors of two sources cannot cancel out.
    """
    lanes: defaultdict[str, list[LaneCount]] = defaultdict(list)
    for row in sorted(audit.lanes, key=lambda row: (row.lane, row.source)):
        lanes[row.lane].append(row)
    return {
        "balanced": audit.balanced,
        "problems": list(audit.problems),
        "destinations": [
            {
                "destination": lane,
                "confirmed": lane not in unconfirmed,
                **_equation(rows),
                "sources": [{"source": row.source, **_equation([row])} for row in rows],
            }
            for lane, rows in lanes.items()
        ],
        "sources": [_source(row) for row in audit.sources],
        "events": _events(counters),
    }


def _equation(rows: Sequence[LaneCount]) -> dict[str, Any]:
    outcomes: defaultdict[Key, int] = defaultdict(int)
    for row in rows:
        for (outcome, reason), count in row.outcomes.items():
            outcomes[(str(outcome), reason)] += count
    return {
        "accepted": sum(row.logged + row.backfilled for row in rows),
        "backfilled": sum(row.backfilled for row in rows),
        "delivered": outcomes.get(DELIVERED, 0),
        "outcomes": _cells(outcomes),
        "queued": sum(row.queued for row in rows),
        "late": sum(row.late for row in rows),
        "balanced": all(row.balanced for row in rows),
    }


def _source(row: SourceCount) -> dict[str, Any]:
    return {
        "source": row.source,
        "accepted": row.accepted,
        "logged": row.logged,
        "same": row.same,
        "conflict": row.conflict,
        "balanced": row.balanced,
    }


def _events(counters: Mapping[Counter, int]) -> list[dict[str, Any]]:
    """Per event name: how it ended at each destination, and duplicates, which are counted at the source."""
    cells: defaultdict[str, defaultdict[str, defaultdict[Key, int]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(int))
    )
    for (_source_name, lane, label, outcome, reason), count in counters.items():
        if count and (str(outcome), reason) in WORDS:
            cells[label][lane][(str(outcome), reason)] += count
    return [
        {
            "event": name,
            "destinations": {lane: _cells(ends) for lane, ends in sorted(lanes.items()) if lane},
            "duplicates": _cells(lanes.get("", {})),
        }
        for name, lanes in sorted(cells.items())
    ]


def _cells(outcomes: Mapping[Key, int]) -> list[dict[str, Any]]:
    return [
        {"outcome": key[0], "reason": key[1], "words": WORDS[key], "events": outcomes[key]}
        for key in WORDS
        if outcomes.get(key)
    ]


def table(view: Mapping[str, Any]) -> str:
    """A ledger as text: the equation per destination and per source, then what is wrong.

    >>> print(table(ledger(audit, counters, frozenset({"ga4"}))))
    destination  accepted = delivered + no consent + queued
    ga4 *             100 =        90 +          8 +      2  ✓
    meta              100 =       100 +          0 +      0  ✓
    """
    notes = [] if all(row["confirmed"] for row in view["destinations"]) else [_FOOTNOTE]
    notes += [f"problem: {problem}" for problem in view["problems"]]
    blocks = (_destinations_table(view["destinations"]), _sources_table(view["sources"]), "\n".join(notes))
    return "\n\n".join(block for block in blocks if block)


def _destinations_table(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = [{(cell["outcome"], cell["reason"]): cell["events"] for cell in row["outcomes"]} for row in rows]
    used = [key for key in WORDS if key == DELIVERED or any(key in count for count in counts)]
    header = ["destination", "accepted", *(WORDS[key] for key in used), "queued"]
    lines = [
        [
            row["destination"] + ("" if row["confirmed"] else " *"),
            row["accepted"],
            *(count.get(key, 0) for key in used),
            row["queued"],
        ]
        for row, count in zip(rows, counts, strict=True)
    ]
    return _aligned(header, lines, [row["balanced"] for row in rows])


def _sources_table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["source", "accepted", "logged", WORDS[("duplicate", "same")], WORDS[("duplicate", "conflict")]]
    lines = [[row[key] for key in ("source", "accepted", "logged", "same", "conflict")] for row in rows]
    return _aligned(header, lines, [row["balanced"] for row in rows])


def _aligned(header: Sequence[str], rows: Sequence[Sequence[Any]], balanced: Sequence[bool]) -> str:
    """Lines of name, total = part + part + …, and a mark."""
    if not rows:
        return ""
    lines = [list(header), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    marks = ["", *("  ✓" if ok else "  ✗ does not balance" for ok in balanced)]
    return "\n".join(_line(cells, widths) + mark for cells, mark in zip(lines, marks, strict=True))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, total, *parts = (
        cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"{name}  {total} = {' + '.join(parts)}"
