"""Withdrawals: what a visitor took back, held by a salted hash of the visitor (design §6).

A restriction holds for every event until it is lifted; lifting it lets events through that were received afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.queue.base import Withdrawal
from gateway.queue.stage import Stage

_UPSERT = "insert or replace into withdrawal(subject, purpose, at, lifted) values(?, ?, ?, ?)"


def withdraw(stage: Stage, withdrawals: Sequence[Withdrawal]) -> None:
    """Write restrictions; one that is older than the choice that lifted it changes nothing."""
    for withdrawal in withdrawals:
        for purpose in sorted(withdrawal.purposes):
            at, lifted = _times(stage, withdrawal.subject, purpose)
            if withdrawal.at >= lifted:
                _write(stage, withdrawal.subject, purpose, max(at, withdrawal.at), 0.0)


def lift(stage: Stage, subjects: Iterable[bytes], purposes: frozenset[str], at: float) -> None:
    """Write that a newer choice took restrictions back."""
    for subject in subjects:
        for purpose in sorted(purposes):
            withdrawn_at, lifted = _times(stage, subject, purpose)
            if withdrawn_at and at >= max(withdrawn_at, lifted):
                _write(stage, subject, purpose, withdrawn_at, at)


def _times(stage: Stage, subject: bytes, purpose: str) -> tuple[float, float]:
    staged = stage.withdrawn.get((subject, purpose))
    return staged or stage.memory.withdrawals.get(subject, {}).get(purpose, (0.0, 0.0))


def _write(stage: Stage, subject: bytes, purpose: str, at: float, lifted: float) -> None:
    stage.db.execute(_UPSERT, (subject, purpose, at, lifted))
    stage.withdrawn[(subject, purpose)] = (at, lifted)
