"""Golden cases of the dialects: a hit in, events out, the client's own consent words still undecided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.receive_cases import DECODERS, run

_FOLDER = Path(__file__).parent / "golden" / "receive"
_CASES = [(dialect, case) for dialect in DECODERS for case in yaml.safe_load((_FOLDER / f"{dialect}.yaml").read_text())]


@pytest.mark.parametrize(("dialect", "case"), _CASES, ids=[f"{dialect}: {case['name']}" for dialect, case in _CASES])
def test_hit_becomes_these_events(dialect: str, case: dict[str, Any]) -> None:
    expected = {key: value for key, value in case.items() if key not in ("name", "hit")}
    assert run(dialect, case["hit"]) == expected


@pytest.mark.parametrize("dialect", DECODERS)
def test_every_dialect_has_thirty_cases_with_names_of_their_own(dialect: str) -> None:
    names = [case["name"] for one, case in _CASES if one == dialect]
    assert len(names) >= 30
    assert len(set(names)) == len(names)
