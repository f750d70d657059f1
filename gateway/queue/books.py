"""The equations as the owner of the store counts them in memory: the same sums as an audit, without reading a row.

Cheap enough to ask every second. It cannot see a damaged row or a changed counter in the file: that is what the audit is
for, which counts from the rows themselves.
"""

from __future__ import annotations

from collections import defaultdict

from gateway.outcomes import ENDINGS, Outcome
from gateway.queue.base import Audit, LaneCount, SourceCount
from gateway.queue.memory import Memory
from gateway.queue.schema import LOGGED_CODE, NO_LANE

Outcomes = dict[tuple[str, str], int]


def books(memory: Memory) -> Audit:
    """Every row of the ledger; call it where nothing is being committed: on the loop."""
    outcomes: defaultdict[tuple[int, int], Outcomes] = defaultdict(dict)
    for (lane, source, _label, code), n in memory.counters.items():
        if n and code != LOGGED_CODE and code in ENDINGS:
            outcome, reason = ENDINGS[code]
            of = outcomes[(lane, source)]
            of[(str(outcome), reason)] = of.get((str(outcome), reason), 0) + n
    lanes = []
    for (lane, source), position in memory.positions.items():
        state = memory.sources[source]
        queued = position.fresh(state.head) + position.retrying
        logged = state.logged - position.logged_at_start
        counted = outcomes.get((lane, source), {})
        lanes.append(
            LaneCount(memory.lanes[lane].name, state.name, logged, position.backfilled, counted, queued, position.late)
        )
    sources = []
    for state in memory.sources.values():
        twice = outcomes.get((NO_LANE, state.id), {})
        same, conflict = (twice.get((str(Outcome.DUPLICATE), reason), 0) for reason in ("same", "conflict"))
        sources.append(SourceCount(state.name, state.accepted, state.logged, same, conflict))
    return Audit(tuple(sources), tuple(lanes))
