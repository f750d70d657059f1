"""The state machine that draws what happens to the store and its oracle (store_world.py).

Rare sequences must come often, or a green run says little: there are few sources, lanes, ids and events; every example
begins with events that were delivered, put off, kept and forgotten by the log; most rules are about settling; and faults
fall on early steps.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.queue.base import DeadFilter
from tests.store_oracle import PERSONS, Flight
from tests.store_world import HOUR, LANES, SOURCES, World

Fault = tuple[str, int]
Drawn = tuple[int, int, int, int, bool]
Chosen = list[tuple[int, int, int]]
FAULTS = st.one_of(
    st.just(("none", 0)),
    st.just(("none", 0)),
    st.just(("none", 0)),
    st.tuples(st.sampled_from(["crash", "fail"]), st.integers(0, 12)),
    st.sampled_from([("commit fails", 0), ("committed", 0)]),
)
NEW = st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1), st.booleans())
WHICH = st.sampled_from([0, 0, 0, 1, 4])
ENDING = st.sampled_from([0, 0, 3, 4, 4, 5, 6, 7, 7, 8, 9])
CHOSEN = st.lists(st.tuples(WHICH, ENDING, st.integers(0, 8)), min_size=1, max_size=5)
LANE = st.sampled_from(LANES)
TIMES = st.sampled_from([2.0, 600.0, 20 * HOUR, 50 * HOUR])
AGAIN = st.sampled_from([False, False, True])
AGES = st.sampled_from([0.1 * HOUR, 15 * HOUR, 40 * HOUR])


class StoreMachine(RuleBasedStateMachine):
    """Draws what happens."""

    @initialize(before=st.integers(1, 3), events=st.lists(NEW, min_size=2, max_size=6), chosen=CHOSEN, wait=TIMES)
    def begin(self, before: int, events: list[Drawn], chosen: Chosen, wait: float) -> None:
        """Events before the lanes, events after, some of them settled; time passed."""
        self.folder = Path(tempfile.mkdtemp(prefix="tagway-model-", dir=_memory_folder()))
        self.world = World(self.folder)
        self.old: list[Flight] = []
        self.world.append([(source % 2, 0, source, 0, False) for source in range(before + 1)])
        self.world.open_lane("meta", ["shop", "app"])
        self.world.open_lane("ga4", ["shop"])
        self.world.append(events)
        self.world.take("meta", 4)
        self.world.settle("meta", chosen)
        self.world.clock.advance(wait)

    def teardown(self) -> None:
        """The last check, unless the machine never began or has found something already."""
        if hasattr(self, "world"):
            try:
                if sys.exc_info()[0] is None:
                    self.world.drain()
            finally:
                self.world.core.close()
                shutil.rmtree(self.folder)

    @rule(events=st.lists(NEW, min_size=1, max_size=4), fault=FAULTS)
    def append(self, events: list[Drawn], fault: Fault) -> None:
        """Hits."""
        self.world.fault = fault
        self.world.append(events)
        self.world.check()

    @rule(lane=LANE, limit=st.integers(1, 6))
    def take(self, lane: str, limit: int) -> None:
        """A lane asks for work."""
        self.world.take(lane, limit)

    @rule(lane=LANE, limit=st.integers(2, 6), chosen=CHOSEN, events=st.lists(NEW, max_size=2), again=AGAIN, fault=FAULTS)
    def settle(self, lane: str, limit: int, chosen: Chosen, events: list[Drawn], again: bool, fault: Fault) -> None:
        """A lane takes some more and reports on some of what it has; hits come in the same transaction; perhaps a restart."""
        self.world.take(lane, limit)
        self.old += self.world.flights[:3]
        self.world.fault = fault
        self.world.settle(lane, chosen, events)
        self.world.check()
        if again:
            self.world.reopen()
            self.world.take(lane, 6)

    @rule(lane=LANE, rounds=st.lists(CHOSEN, min_size=2, max_size=4), wait=st.sampled_from([0.0, 2.0, 600.0]))
    def work(self, lane: str, rounds: list[Chosen], wait: float) -> None:
        """A lane works for a while: events are put off, come back and end."""
        for chosen in rounds:
            self.world.take(lane, 3)
            self.old += self.world.flights[:3]
            self.world.settle(lane, chosen)
            self.world.clock.advance(wait)
        self.world.check()

    @rule(lane=LANE, ending=ENDING, parts=st.integers(0, 8), fault=FAULTS)
    def batch(self, lane: str, ending: int, parts: int, fault: Fault) -> None:
        """A vendor judges a whole batch alike."""
        self.world.take(lane, 4)
        self.old += self.world.flights[:3]
        self.world.fault = fault
        self.world.settle(lane, [(0, ending, parts)] * 4)
        self.world.check()

    @precondition(lambda self: self.old)
    @rule(which=st.sampled_from([0, 0, 1, 2, 5]), ending=ENDING)
    def late_verdict(self, which: int, ending: int) -> None:
        """A verdict on something that was settled, put off or overtaken before."""
        retried_last = sorted(self.old, key=lambda flight: flight.taken.token, reverse=True)
        flight = retried_last[which % len(retried_last)]
        if flight not in self.world.flights:
            self.world.settle_again(flight, ending)
            self.world.check()

    @precondition(lambda self: self.world.flights)
    @rule(lane=LANE, which=st.integers(0, 1))
    def release(self, lane: str, which: int) -> None:
        """A lane pauses."""
        self.world.release(lane, which)
        self.world.take(lane, 6)

    @rule(lane=LANE, both=st.booleans(), wait=TIMES, fault=FAULTS)
    def reload(self, lane: str, both: bool, wait: float, fault: Fault) -> None:
        """A lane may read another source from now on, or one less."""
        self.world.clock.advance(wait)
        self.world.fault = fault
        self.world.open_lane(lane, list(SOURCES if both else SOURCES[:1]))
        self.world.check()

    @rule(lane=LANE, source=st.integers(0, 1), hours=st.sampled_from([0.1, 30, 1000, 1000]), fault=FAULTS)
    def replay(self, lane: str, source: int, hours: float, fault: Fault) -> None:
        """A back-fill."""
        sources = self.world.active[lane]
        self.world.fault = fault
        self.world.replay(lane, sources[source % len(sources)], self.world.clock.now() - hours * HOUR)
        self.world.check()

    @precondition(lambda self: self.world.oracle.letters)
    @rule(lane=st.sampled_from([None, None, "", *LANES]), count=st.sampled_from([1, 1, 3]), fault=FAULTS)
    def replay_letters(self, lane: str | None, count: int, fault: Fault) -> None:
        """Dead letters go back."""
        self.world.fault = fault
        self.world.replay_letters(DeadFilter(lane=lane), count)
        self.world.check()

    @precondition(lambda self: len(self.world.oracle.letters) > 2)
    @rule(count=st.integers(1, 2), fault=FAULTS)
    def drop_letters(self, count: int, fault: Fault) -> None:
        """Dead letters are deleted."""
        self.world.fault = fault
        self.world.drop_letters(count)
        self.world.check()

    @rule(kind=st.sampled_from(["expire", "strip"]), age=AGES, fault=FAULTS)
    def grow_old(self, kind: str, age: float, fault: Fault) -> None:
        """Retention by age, or personal data leaves."""
        self.world.fault = fault
        if kind == "expire":
            self.world.expire(age)
        else:
            self.world.strip()
        self.world.check()

    @rule(share=st.sampled_from([0.9, 0.6, 0.3]), fault=FAULTS)
    def make_room(self, share: float, fault: Fault) -> None:
        """Retention by bytes."""
        self.world.fault = fault
        self.world.make_room(share)
        self.world.check()

    @rule(person=st.sampled_from([*PERSONS, *PERSONS, None]))
    def forget(self, person: str | None) -> None:
        """A person is erased, or old ids are forgotten."""
        if person:
            self.world.erase(person)
        else:
            self.world.forget_ids()
        self.world.check()

    @rule(who=st.integers(0, 1), ago=st.sampled_from([0.0, 5.0]), lifts=st.booleans(), fault=FAULTS)
    def choose(self, who: int, ago: float, lifts: bool, fault: Fault) -> None:
        """A visitor withdraws or grants again."""
        self.world.fault = fault
        at = self.world.clock.now() - ago
        (self.world.lift if lifts else self.world.withdraw)(b"subject-%d" % who, at)
        self.world.check()

    @rule()
    def reopen(self) -> None:
        """A restart."""
        self.world.reopen()
        self.world.check()


def _memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
