"""Delivery: one lane per destination takes events from the store, sends them and settles what became of each.

lane.py       the loop of one destination: take, gate, map, batch, dispatch, stop
gate.py       the skips in their fixed order, and age
batch.py      parts grouped by their rendered envelope
courier.py    one batch's way: last checks, request, quick tries, split, verdicts
settle.py     several parts, one outcome
circuit.py    when a lane may send: breaker.py (vendor down) and pause.py (vendor refuses us)
retry.py      when a failed event is tried again, and when it is dead
limits.py     what manifest and customer allow: rate, concurrency, sizes, age
transport.py  `send(Request) -> Reply` through aiohttp; direct.py and exchange.py do the same for a quarter of the CPU
guard.py      keeps all of them away from private addresses
parked.py     a lane that no file names any more
"""
