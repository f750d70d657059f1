"""What stands round a function while it runs: its kind's rules, the net under it, and the count of its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.mapping.functions import FAILURES, LARGEST, Function, as_text, is_empty
from gateway.mapping.scope import Context, Step

Count = Callable[[], None]


def counter(known: Function, context: Context) -> Count | None:
    """What is told when a function fails; None for one whose null is an answer."""
    meter, destination, field = context.meter, context.destination, context.field or context.shown
    return (lambda: meter.mapping_null(destination, field)) if known.counts else None


def stepped(known: Function, work: Callable[[Any], Any], count: Count | None) -> Step:
    """A function with its kind's rules around it (see functions.py); never raises."""
    if known.each:
        return _each(work, count)
    step = _whole(work, count, known.sees_null)
    return _passing(step, frozenset(known.passes)) if known.passes else step


def _passing(step: Step, kinds: frozenset[type]) -> Step:
    """A cast before which values that have its kind already are let through."""

    def passing(value: Any) -> Any:
        kind = type(value)
        if kind not in kinds:
            return step(value)
        if kind is int:
            return value if -LARGEST <= value < LARGEST else step(value)
        return value if kind is not float or value - value == 0 else step(value)

    return passing


def _whole(work: Callable[[Any], Any], count: Count | None, sees_null: bool) -> Callable[[Any], Any]:
    def step(value: Any) -> Any:
        return None if value is None and not sees_null else _done(work, value, count)

    return step


def _done(work: Callable[[Any], Any], value: Any, count: Count | None) -> Any:
    try:
        result = work(value)
    except FAILURES:
        result = None
    if result is None and count is not None and not is_empty(value):
        count()
    return result


def _each(work: Callable[[str], Any], count: Count | None) -> Callable[[Any], Any]:
    def step(value: Any) -> Any:
        if type(value) is str:
            if not value:
                return None
            try:
                result = work(value)
            except FAILURES:
                result = None
            if result is None and count is not None:
                count()
            return result
        if value is None:
            return None
        if isinstance(value, list):
            flat = [inner for one in value for inner in (one if isinstance(one, list) else (one,))]
            return [kept for one in flat if not isinstance(one, list) and (kept := step(one)) is not None]
        text = None if isinstance(value, dict) else as_text(value)
        if text is None and count is not None:
            count()
        return None if text is None else step(text)

    return step


def late(known: Function, context: Context) -> Callable[..., Any]:
    """A function whose arguments are known only per event: called with the value and then the arguments."""
    count = counter(known, context)

    def run(value: Any, *args: Any) -> Any:
        if value is None and not known.sees_null:
            return None
        try:
            work = known.build(*args)
        except FAILURES:
            if count is not None:
                count()
            return None
        return stepped(known, work, count)(value)

    return run


def timed(known: Function, context: Context) -> Callable[[Any, float], Any]:
    """A function that reads the time: called with the value and the time."""
    count, build, sees_null = counter(known, context), known.build, known.sees_null

    def run(value: Any, now: float) -> Any:
        return None if value is None and not sees_null else _done(build(now), value, count)

    return run
