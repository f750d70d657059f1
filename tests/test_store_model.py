"""The store against an independent oracle, and proof that this comparison notices a store that is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.queue import contexts, erase, personal, retention
from tests.store_bugs import BUGS
from tests.store_model import StoreMachine


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long jobs take several transactions even over a few events."""
    for job in (retention, personal, erase, contexts):
        monkeypatch.setattr(job, "SLICE", 3)


def run(examples: int, steps: int, *, shrink: bool, fixed: bool) -> None:
    """Let the machine run; `fixed` draws the same examples every time."""
    phases = (Phase.explicit, Phase.generate, *((Phase.shrink,) if shrink else ()))
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        StoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=phases,
            derandomize=fixed,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            print_blob=not fixed,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_store_and_oracle_agree() -> None:
    run(60, 25, shrink=True, fixed=True)


@pytest.mark.slow
def test_store_and_oracle_agree_for_long() -> None:
    run(250, 40, shrink=True, fixed=False)


@pytest.mark.slow
@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_the_model_notices(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, sqlite3.IntegrityError)) as noticed:
        run(400, 30, shrink=False, fixed=True)
    print(plant.__name__, repr(noticed.value)[:150])
