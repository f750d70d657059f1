"""When a failed event is tried again, and when it is given up.

- The wait is full jitter over min(1 h, 2^n s), or the vendor's Retry-After up to 1 h.
- `dead` needs 10 tries and 72 h since the first failure. Time in which the lane could not try (breaker, pause, process
  down) counts toward neither: `Stoppages` keeps when that was.
- What may pass in seconds is tried again at once, at most twice within 5 s (tenacity); anything longer is a row on disk.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

import tenacity

LONGEST = 3600.0
MIN_TRIES = 10
MIN_AGE = 72 * 3600.0
QUICK_TRIES = 2
QUICK_SECONDS = 5.0
MAX_STOPPAGES = 1000

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


def wait(tries: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds until the next try after `tries` failed ones."""
    if retry_after is not None:
        asked = min(LONGEST, max(0.0, retry_after))
        return min(LONGEST, asked + rng.uniform(0, 0.1 * asked + 0.5))
    return rng.uniform(0, min(LONGEST, 2.0 ** min(tries, 12)))


def is_dead(tries: int, first_at: float, now: float) -> bool:
    """Whether an event has had its ten tries and its three days."""
    return tries >= MIN_TRIES and now - first_at >= MIN_AGE


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, given as seconds or as a date; None without a readable one."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


class Stoppages:
    """When a lane could not try: everything before it started, and each breaker or pause since. Wall time."""

    def __init__(self, started: float) -> None:
        self._spans: list[tuple[float, float]] = [(float("-inf"), started)]
        self._since: float | None = None

    def begin(self, now: float) -> None:
        """The lane stops trying."""
        if self._since is None:
            self._since = now

    def end(self, now: float) -> None:
        """The lane tries again."""
        if self._since is not None:
            self._spans.append((self._since, now))
            self._since = None
            del self._spans[1 : max(1, len(self._spans) - MAX_STOPPAGES)]

    def overlap(self, since: float, until: float) -> float:
        """Seconds between two moments in which the lane could not try."""
        spans = self._spans if self._since is None else [*self._spans, (self._since, until)]
        return sum(max(0.0, min(until, end) - max(since, start)) for start, end in reversed(spans) if end > since)


async def quickly(attempt: Callable[[], Awaitable[T]], again: Callable[[T], bool], sleep: Sleep = asyncio.sleep) -> T:
    """After a failure that may pass: try at most twice more within 5 s while `again(result)` holds. The last result."""

    def last(state: tenacity.RetryCallState) -> T:
        if state.outcome is None:
            raise RuntimeError("there was no attempt")
        result: T = state.outcome.result()
        return result

    retrying = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(QUICK_TRIES) | tenacity.stop_before_delay(QUICK_SECONDS),
        wait=tenacity.wait_random(0.5, 1.5),
        retry=tenacity.retry_if_result(again),
        retry_error_callback=last,
        sleep=sleep,
    )
    await sleep(random.uniform(0.1, 0.5))
    result: T = await retrying(attempt)
    return result
