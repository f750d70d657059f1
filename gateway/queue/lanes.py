"""Lanes: a (lane, source) never seen before starts now; a known one resumes where it was (design §4, §6)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.queue.memory import LaneState, Memory, Position, Reading
from gateway.queue.stage import Stage

_INSERT = "insert into position(lane, source, start, logged_at_start, cursor) values(?, ?, ?, ?, ?)"


def open_lane(stage: Stage, name: str, sources: Sequence[str]) -> None:
    """Give the lane a position in each of its sources."""
    lane = stage.lane_id(name)
    for source_name in sources:
        source = stage.source_id(source_name)
        if stage.knows(lane, source):
            continue
        state = stage.source(source)
        position = Position(start=state.head + 1, logged_at_start=state.logged, cursor=state.head + 1)
        stage.db.execute(_INSERT, (lane, source, position.start, position.logged_at_start, position.cursor))
        stage.positions[(lane, source)] = position


def activate(memory: Memory, name: str, sources: Sequence[str]) -> LaneState:
    """After the commit: the lane reads these sources from their positions; what was in flight can be taken again."""
    lane = memory.lanes[memory.lane_ids[name]]
    lane.active = tuple(dict.fromkeys(memory.source_ids[source] for source in sources))
    lane.reading = {source: Reading(memory.positions[(lane.id, source)].cursor) for source in lane.active}
    return lane
