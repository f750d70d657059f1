"""Bounds on what a hit may cost before its dialect reads it: size of the body, depth of JSON, and how often one may come.

How many events a hit may hold and how large each may be is checked where events are told apart: gateway/receive/body.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from gateway.config.models import Source
from gateway.errors import Malformed, RateLimited

MAX_BODY = 512 * 1024
MAX_DEPTH = 32
SHORT = 4096
"""Bytes up to which counting brackets may be all there is to do; longer bodies hold more of them than may be nested."""
MAX_CLIENTS = 50_000
"""Client addresses whose rate is remembered; the one seen longest ago is forgotten first."""


def check_depth(body: bytes) -> None:
    """Raises Malformed when JSON is nested deeper than MAX_DEPTH. Bytes that are no JSON may pass: parsing refuses them.

    Works on the bytes, by peeling off innermost pairs of brackets, so that no input can exhaust the stack.
    """
    if len(body) < SHORT and body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    brackets = _brackets(body)
    for _ in range(MAX_DEPTH):
        shorter = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    if brackets:
        raise Malformed(f"the body is no JSON or nested deeper than {MAX_DEPTH} levels")


_NOT_STRUCTURE = bytes(code for code in range(256) if code not in b'"[]{}')


def _brackets(body: bytes) -> bytes:
    """Only the brackets that stand outside strings."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(None, _NOT_STRUCTURE)
    outside = marks.replace(b'""', b"")
    # The first string with a bracket in it keeps its opening quote, as only whole strings stand before it
    return outside if b'"' not in outside else b"".join(marks.split(b'"')[::2])


class Bucket:
    """A token bucket; a hit is one token."""

    __slots__ = ("at", "burst", "rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst = rate, burst
        self.tokens, self.at = burst, now

    def take(self, now: float) -> float:
        """0.0 when a token was there, else the seconds until there is one."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0


class Rates:
    """The configured rates of all sources, and of each client address of a source that limits those.

    An IPv6 client is its /64: the rest of the address is the client's own to choose.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._limits = {name: source.limits for name, source in sources.items()}
        self._sources: dict[str, Bucket] = {}
        self._clients: dict[tuple[str, str], Bucket] = {}
        self.idle = not any(limits.rps or limits.ip_rps for limits in self._limits.values())

    def check(self, source: str, ip: str | None, now: float) -> None:
        """Count a hit; `ip` None is not limited by address, `now` is monotonic. Raises RateLimited."""
        if self.idle:
            return
        limits = self._limits[source]
        if limits.ip_rps and ip is not None:
            self._take(self._clients, (source, _network(ip)), limits.ip_rps, limits.ip_burst, now)
        if limits.rps:
            self._take(self._sources, source, limits.rps, limits.burst, now)

    @staticmethod
    def _take(buckets: dict[Any, Bucket], key: Any, rps: float, burst: int | None, now: float) -> None:
        bucket = buckets.pop(key, None) or Bucket(rps, burst or max(1.0, rps), now)
        buckets[key] = bucket
        if len(buckets) > MAX_CLIENTS:
            del buckets[next(iter(buckets))]
        wait = bucket.take(now)
        if wait:
            raise RateLimited("more hits than the configured rate", ceil(wait))


def _network(ip: str) -> str:
    return ip if "." in ip else ":".join(ip.split("::")[0].split(":")[:4])
