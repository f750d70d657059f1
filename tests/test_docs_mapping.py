"""docs/mapping.md: every example gives what stands below it, every function has one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs.examples import EVENT, EXAMPLES, example
from gateway.config.load import load
from gateway.errors import ConfigErrors
from gateway.manifest import load_manifest
from gateway.mapping import FUNCTIONS, compile_plan
from tests.docs_kit import ROOT, Block, blocks
from tests.mapping_kit import NOW, event_of, parts_of, shape_of, value_of

BLOCKS = blocks(ROOT / "docs" / "mapping.md")
DATA = {key: value for key, value in EVENT.items() if key not in ("name", "time")}


def pairs(mark: str) -> list[tuple[Block, Block]]:
    """Each block with this mark, and each that says what it gives."""
    found = []
    for i, block in enumerate(BLOCKS):
        if block.mark == mark:
            after = [b for b in BLOCKS[i + 1 :] if b.mark in ("shape", "file") or not b.mark.startswith("gives")]
            end = BLOCKS.index(after[0]) if after else len(BLOCKS)
            assert end > i + 1, f"docs/mapping.md:{block.line} does not say what it gives"
            found += [(block, gives) for gives in BLOCKS[i + 1 : end]]
    return found


def holds(expected: Any, got: Any) -> bool:
    """Whether everything expected stands in what came."""
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(key in got and holds(value, got[key]) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(got, list) and len(got) == len(expected) and all(map(holds, expected, got))
    return bool(expected == got)


@pytest.mark.parametrize(("shape", "gives"), [pytest.param(*one, id=f"line {one[0].line}") for one in pairs("shape")])
def test_a_shape_gives_what_the_page_says(shape: Block, gives: Block) -> None:
    assert shape_of(shape.text, **DATA) == json.loads(gives.text)


@pytest.mark.parametrize(("file", "gives"), [pytest.param(*one, id=f"line {one[1].line}") for one in pairs("file")])
def test_a_file_gives_what_the_page_says(file: Block, gives: Block, tmp_path: Path) -> None:
    name = gives.mark.removeprefix("gives for ").partition(",")[0]
    payloads = payloads_of(file.text, name, tmp_path)
    expected = json.loads(gives.text)
    assert holds(expected if isinstance(expected, list) else [expected], payloads), json.dumps(payloads, indent=2)


def payloads_of(text: str, name: str, folder: Path) -> list[Any]:
    """What a destination's file makes of the page's event under a name."""
    vendor = text.split("\n", 1)[0].removeprefix("# configs/destinations/").removesuffix(".yaml")
    (folder / "destinations").mkdir()
    (folder / "destinations" / f"{vendor}.yaml").write_text(text)
    (folder / "gateway.yaml").write_text("sources:\n  shop:\n    hosts: [t.shop.example]\ndestinations: destinations/\n")
    config = load(folder / "gateway.yaml", {"META_ACCESS_TOKEN": "token", "WEBHOOK_SECRET": "secret"})
    one = config.destinations[vendor]
    plan = compile_plan(load_manifest(one.type), one)
    return [part.payload for part in parts_of(plan, event_of(name, **DATA), NOW)]


def test_what_is_left_out_stays_out(tmp_path: Path) -> None:
    first = next(block for block in BLOCKS if block.mark == "file")
    data = payloads_of(first.text, "purchase", tmp_path)[0]["custom_data"]
    assert "contents" not in data
    assert "content_ids" in data


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_an_example_that_uses_it(name: str) -> None:
    expression = EXAMPLES[name]
    assert f"| {name}" in expression
    assert example(name) is not None


def test_the_examples_are_of_functions_that_exist() -> None:
    assert set(EXAMPLES) == set(FUNCTIONS)


@pytest.mark.parametrize("wrong", ["$usr.email", "$user.email | sha265", "$user.email | slice", "$user.email | map:nowhere"])
def test_the_mistakes_that_the_page_names_are_found(wrong: str) -> None:
    with pytest.raises(ConfigErrors):
        value_of(wrong, **DATA)


def test_holds_notices_a_difference() -> None:
    assert holds({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4})
    for expected in ({"a": [1]}, {"a": [1, {"b": 3}]}, {"x": 1}, [1]):
        assert not holds(expected, {"a": [1, {"b": 2}]})
