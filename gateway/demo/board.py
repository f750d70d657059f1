"""What the demo's page shows, as one JSON value: the gateway's process, each vendor's inbox and switch, the last orders.

    board.watch()  →  the whole value at once, and again whenever it changed; a page that reconnects has missed nothing.

The lab is in this process and is read directly; the gateway is asked on its admin listener, twice a second and only while
somebody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gateway.clock import iso
from gateway.demo.child import GatewayProcess
from gateway.demo.ports import HOST, Ports
from gateway.demo.verdicts import TITLES, Facts, Verdict, counted, is_purchase, verdict
from gateway.lab import Entry, Lab

EVERY = 0.25
ASK_EVERY = 0.5
KEPT_ORDERS = 50
SHOWN_ORDERS = 8
SHOWN_ENTRIES = 8
TIMEOUT = aiohttp.ClientTimeout(total=2)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Order:
    """An order of the shop; `ends` is the gateway's account of its event per destination, None while it has none."""

    number: str
    event: str
    total: float
    consent: str
    ends: Mapping[str, Mapping[str, Any]] | None = None

    def mine(self, entry: Entry) -> bool:
        """Whether an entry of an inbox is this order; Google Analytics is told the order number instead of an event id."""
        return is_purchase(entry) and entry.id in (self.event, self.number)


class Board:
    """Gathers and hands out. `first` is how many seconds after `began` the first event was delivered."""

    def __init__(self, ports: Ports, lab: Lab, gateway: GatewayProcess, began: float) -> None:
        self._ports, self._lab, self._gateway, self._began = ports, lab, gateway, began
        self._orders: OrderedDict[str, Order] = OrderedDict()
        self._watchers: set[asyncio.Queue[bytes]] = set()
        self._last = b""
        self._lanes: Mapping[str, Any] = {}
        self._books: Mapping[str, Any] = {}
        self._answers = False
        self._asked = 0.0
        self.first: float | None = None
        self.delivered = asyncio.Event()

    def add_order(self, order: Order) -> None:
        """Follow an order; the oldest is forgotten."""
        self._orders[order.number] = order
        while len(self._orders) > KEPT_ORDERS:
            self._orders.popitem(last=False)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as client:
            while True:
                try:
                    await self._look(client)
                except Exception:  # boundary: the page may miss a look, the demo must not end of it
                    log.exception("the demo's page could not be brought up to date")
                await asyncio.sleep(EVERY)

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """The value as JSON, now and after each change."""
        changes: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._watchers.add(changes)
        try:
            yield orjson.dumps(self.snapshot())
            while True:
                yield await changes.get()
        finally:
            self._watchers.discard(changes)

    def snapshot(self) -> dict[str, Any]:
        """See the module."""
        return {
            "gateway": {
                "pid": self._gateway.pid,
                "up": self._answers,
                "kills": self._gateway.kills,
                "restarts": self._gateway.restarts,
                "back_in": None if self._gateway.back_in is None else round(self._gateway.back_in),
            },
            "ports": {"gateway": self._ports.gateway, "admin": self._ports.admin},
            "first": self.first,
            "balanced": self._books.get("balanced"),
            "vendors": [self._vendor(name) for name in TITLES],
            "orders": [self._order(order) for order in list(self._orders.values())[: -SHOWN_ORDERS - 1 : -1]],
        }

    async def _look(self, client: aiohttp.ClientSession) -> None:
        if self.first is None and any(counted(self._lab.inbox(name)) for name in TITLES):
            self.first = round(time.monotonic() - self._began, 1)
            self.delivered.set()
        if not self._watchers:
            return
        if time.monotonic() - self._asked >= ASK_EVERY or bool(self._gateway.pid) != self._answers:
            self._asked = time.monotonic()
            await self._ask(client)
        value = orjson.dumps(self.snapshot())
        if value != self._last:
            self._last = value
            for watcher in self._watchers:
                with contextlib.suppress(asyncio.QueueEmpty):
                    watcher.get_nowait()
                watcher.put_nowait(value)

    async def _ask(self, client: aiohttp.ClientSession) -> None:
        """Bring the gateway's side up to date; while it is down the last answers stay."""
        if not self._gateway.pid:
            self._answers = False
            return
        try:
            lanes, books = await self._get(client, "/lanes"), await self._get(client, "/ledger")
            for order in list(self._orders.values())[-SHOWN_ORDERS:]:
                await self._follow(client, order)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            self._answers = False
            return
        self._lanes = {lane["destination"]: lane for lane in lanes["lanes"]}
        self._books = {**books, "rows": {row["destination"]: row for row in books["destinations"]}}
        self._answers = True

    async def _follow(self, client: aiohttp.ClientSession, order: Order) -> None:
        if all(self._verdict(order, name).state in ("got", "no") for name in TITLES):
            return
        found = await self._get(client, f"/events/{order.event}")
        if not found["events"]:
            return
        order.ends = {end["destination"]: end for end in found["stories"][0]["destinations"]}

    def _verdict(self, order: Order, name: str) -> Verdict:
        facts = Facts(
            entries=[entry for entry in self._lab.inbox(name) if order.mine(entry)],
            mode=self._lab.mode(name),
            end=None if order.ends is None else order.ends.get(name),
            gateway_up=self._answers,
        )
        return verdict(TITLES[name], facts)

    def _order(self, order: Order) -> dict[str, Any]:
        verdicts = {name: self._verdict(order, name) for name in TITLES}
        return {
            "order": order.number,
            "event": order.event,
            "total": order.total,
            "consent": order.consent,
            "vendors": {name: {"state": one.state, "words": one.words, "detail": one.detail} for name, one in verdicts.items()},
        }

    def _vendor(self, name: str) -> dict[str, Any]:
        entries = self._lab.inbox(name)
        taken = counted(entries)
        lane = self._lanes.get(name, {})
        return {
            "name": name,
            "title": TITLES[name],
            "mode": self._lab.mode(name),
            "events": len(taken),
            "purchases": sum(map(is_purchase, taken)),
            "state": lane.get("state", "running"),
            "queued": lane.get("queued", 0),
            "row": self._books.get("rows", {}).get(name),
            "inbox": [_shown(entry) for entry in entries[: -SHOWN_ENTRIES - 1 : -1]],
        }

    async def _get(self, client: aiohttp.ClientSession, path: str) -> Any:
        async with client.get(f"http://{HOST}:{self._ports.admin}{path}") as answer:
            return orjson.loads(await answer.read())


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "at": iso(entry.at),
        "name": entry.name,
        "id": entry.id,
        "accepted": entry.accepted,
        "reason": entry.reason,
        "duplicate": entry.duplicate,
        "payload": entry.payload,
    }
