"""Documentation as tests read it: the marked blocks of a page, and a shell that runs them one after another.

A mark is an HTML comment on the line before a block, so that readers do not see it:

    <!-- run -->                               run the block; its output is what `expect` looks at
    <!-- run after a moment -->                the same, again and again until the next `expect` is met
    <!-- run in the background until URL -->   start it and wait until the URL answers
    <!-- expect these lines -->                each line stands in the output of the block before, in this order
    <!-- these lines in .env -->               NAME=value lines, in place of those of the same name
    <!-- not run: REASON -->                   with a reason
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?:^<!-- ([^\n]*?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block with its mark (empty without one) and its line."""

    mark: str
    language: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a page."""
    text = path.read_text()
    return [
        Block(found[1] or "", found[2], found[3], text.count("\n", 0, found.start()) + 1) for found in _BLOCK.finditer(text)
    ]


def pages() -> list[Path]:
    """README.md, CHANGELOG.md and every page of docs/."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


class Shell:
    """Runs blocks of commands; folder and exported variables pass from one to the next."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "state"
        self._folder = folder / "work"
        self._folder.mkdir(parents=True)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._env = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8"}
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def folder(self) -> Path:
        """Where the next block runs."""
        return self._folder

    def run(self, commands: str) -> str:
        """Run them, each must succeed; what they printed, on both streams."""
        script = f"set -e\n{commands}\n{{ pwd; env -0; }} > {self._state}\n"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=self._env, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\nended with {done.returncode}:\n{done.stdout}"
        where, _, variables = self._state.read_text().partition("\n")
        self._folder = Path(where)
        pairs = (one.partition("=") for one in variables.split("\0") if "=" in one)
        self._env = {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD", "OLDPWD")}
        return done.stdout

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Run one in the background."""
        log = (self._state.parent / f"background-{len(self._running)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.strip()}"], cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append(process)
        return process

    def stop(self) -> None:
        """End what runs in the background."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(30)

    def logs(self) -> str:
        """What the background wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._state.parent.glob("background-*.log")))


def missing_lines(expected: str, output: str) -> list[str]:
    """The expected lines that do not stand in the output, in their order; numbers of milliseconds may differ."""
    rest = iter([line.rstrip() for line in output.splitlines()])
    return [line for line in expected.splitlines() if line.strip() and not _found(line.rstrip(), rest)]


def _found(line: str, rest: Iterator[str]) -> bool:
    return any(line == other for other in rest)
