"""Lanes that keep pace are handed the event that the intake wrote, which must be what the bytes on disk say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import yaml

from gateway import event
from gateway.clock import FrozenClock
from gateway.config.models import Gateway, Source
from gateway.consent.gate import Need
from gateway.errors import Refused
from gateway.intake import DurableIntake
from gateway.meter import Meter
from gateway.queue.base import NewEvent
from tests.receive_cases import DECODERS, RECEIVED, hit

_FOLDER = Path(__file__).parent / "golden" / "receive"


def same(one: Any, other: Any) -> bool:
    """Equal down to the types of all values: 1, 1.0 and true are three things, a tuple is no list."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(type(key) is str and same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("dialect", DECODERS)
def test_what_is_handed_over_is_what_the_bytes_say(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event, "_SHARED", {})
    store: Any = SimpleNamespace(salt=b"s" * 32, withdrawals={}, contexts=lambda keys, since: {})
    config = Gateway(file="gateway.yaml", sources={"shop": Source()})
    intake = DurableIntake(config, store, {"shop": [Need(())]}, Meter(), FrozenClock(RECEIVED))
    seen = 0
    for case in yaml.safe_load((_FOLDER / f"{dialect}.yaml").read_text()):
        request = hit(dialect, case["hit"])
        try:
            raws = DECODERS[dialect](request)
        except Refused:
            continue
        visitor = intake.visitors("shop").of(request)
        for made in intake._prepared(request, visitor, raws, RECEIVED):
            if isinstance(made, NewEvent):
                assert same(event._SHARED[made.body].data, orjson.loads(made.body)), case["name"]
                assert event.shared(made.body) is event._SHARED[made.body]
                seen += 1
    assert seen >= 20


@pytest.mark.parametrize(("needs", "lanes"), [({}, True), ({"shop": [Need(())]}, False)])
def test_nothing_is_handed_over_where_no_lane_would_take_it(
    needs: dict[str, list[Need]], lanes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event, "_SHARED", {})
    store: Any = SimpleNamespace(salt=b"s" * 32, withdrawals={})
    config = Gateway(file="gateway.yaml", sources={"shop": Source()})
    intake = DurableIntake(config, store, needs, Meter(), FrozenClock(RECEIVED), lanes=lanes)
    request = hit("json", {"body": {"name": "purchase"}})
    assert isinstance(intake._prepared(request, None, DECODERS["json"](request), RECEIVED)[0], NewEvent)
    assert event._SHARED == {}


def test_few_and_small_events_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event, "_SHARED", {})
    large = orjson.dumps({"v": 1, "id": "large", "name": "a" * 5000})
    assert event.shared(large).id == "large"
    for number in range(600):
        event.hand_over(b'{"v":1,"id":"%d"}' % number, {"v": 1, "id": str(number)})
    assert len(event._SHARED) == event.MOST_SHARED
    assert event.shared(b'{"v":1,"id":"0"}').id == "0"
