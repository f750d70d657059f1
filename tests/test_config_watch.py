"""The watcher tells changes of bytes, whatever way they came about."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.config.watch import changes, fingerprint


class Steps:
    """A sleep that ends at once and does the next thing of a script each time; at its end it stops the watcher."""

    def __init__(self, *script: Callable[[], object]) -> None:
        self._script = list(script)

    async def __call__(self, _seconds: float) -> None:
        if not self._script:
            raise StopWatching
        self._script.pop(0)()


class StopWatching(Exception):
    pass


async def count(watcher: AsyncIterator[None]) -> int:
    seen = 0
    try:
        async for _ in watcher:
            seen += 1
    except StopWatching:
        return seen
    raise AssertionError("the watcher ended by itself")


def nothing() -> None:
    pass


async def test_nothing_happens_while_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    same = lambda: file.write_text("a: 1")  # noqa: E731 - written again, with the same bytes
    assert await count(changes([str(file)], sleep=Steps(nothing, same, nothing))) == 0


async def test_a_change_is_told_once_and_only_when_the_file_is_at_rest(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    half, whole = (lambda: file.write_text("a: ")), (lambda: file.write_text("a: 2"))
    assert await count(changes([str(file)], sleep=Steps(nothing, half, whole, nothing, nothing, nothing))) == 1


async def test_every_later_change_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    script = [step for n in range(2, 5) for step in ((lambda n=n: file.write_text(f"a: {n}")), nothing, nothing)]
    assert await count(changes([str(file)], sleep=Steps(*script))) == 3


async def test_a_swapped_configmap_is_a_change(tmp_path: Path) -> None:
    for version, text in (("..v1", "a: 1"), ("..v2", "a: 2")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "gateway.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")

    def swap() -> None:
        (tmp_path / "..new").symlink_to("..v2")
        (tmp_path / "..new").replace(tmp_path / "..data")

    assert await count(changes([str(tmp_path / "gateway.yaml")], sleep=Steps(nothing, swap, nothing, nothing))) == 1


@pytest.mark.parametrize("name", ["new.yaml", "notes.txt"])
async def test_a_file_added_to_or_removed_from_a_folder_is_a_change(tmp_path: Path, name: str) -> None:
    added = tmp_path / name
    script = Steps(lambda: added.write_text("a: 1"), nothing, nothing, added.unlink, nothing, nothing)
    assert await count(changes([str(tmp_path)], sleep=script)) == 2


async def test_hidden_files_are_no_change(tmp_path: Path) -> None:
    assert await count(changes([str(tmp_path)], sleep=Steps(lambda: (tmp_path / ".a.swp").write_text("x"), nothing))) == 0


async def test_a_file_that_goes_and_comes_back_is_two_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    script = Steps(file.unlink, nothing, nothing, lambda: file.write_text("a: 1"), nothing, nothing)
    assert await count(changes([str(file)], sleep=script)) == 2


async def test_the_files_may_change_with_the_configuration(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("a: 1")
    second.write_text("b: 1")
    current = [str(first)]

    def reconfigure() -> None:
        current.append(str(second))
        first.write_text("a: 2")

    script = Steps(reconfigure, nothing, lambda: second.write_text("b: 2"), nothing, nothing)
    assert await count(changes(lambda: tuple(current), sleep=script)) == 2


async def test_it_waits_in_real_time(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1")
    watcher = changes([str(file)], every=0.01)
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    file.write_text("a: 2")
    await asyncio.wait_for(waiting, 5)


def test_what_cannot_be_read_has_a_fingerprint(tmp_path: Path) -> None:
    assert fingerprint([str(tmp_path / "none")]) != fingerprint([str(tmp_path)])
