"""Writes the Python of a mapping: each compiled piece (Code) adds its statements, and one function per rule comes out.

Mappings run for every event and every destination, so they are not interpreted: as dataclasses and template engines do,
the source of a plain function is written once and compiled, when it is first needed.

**No text of a file becomes code.** The source consists of fixed statements of this package and of names that are numbered
here (`v3`, `K7`, `"K8"`). Whatever a manifest, a customer's file or a setting says (keys, constants, tables, patterns,
functions) stands in the function's globals as an object and appears in the source as its name alone; `Writer.bind` is the only
way in.
A key is written as its name in quotes, whose place among the constants of the finished code it then takes.
The globals hold no builtins but those of HELPERS. A test feeds hostile text to every place of a file.

How to read it: `Code.put(out)` writes what a piece needs done first and gives the text of an expression that is its value
and may be used once; `out.hold` makes a name of it. Everything is free of side effects (but for the count of failures), so
the order of evaluation does not matter. `Code.source` shows the result, `Code.legend` what its `K` names stand for.

    def run(scope):
        data = scope.data
        # sections are fetched once, at the top of the function or loop
        if type(user := data.get("user")) is not dict: user = NOTHING
        m1 = {}
        if "K2" in user:                        # K2: 'id'
            v2 = user["K2"]
            ...
            m1["K1"] = v2                       # K1: 'external_id'
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from gateway.clock import iso
from gateway.mapping.functions import FAILURES
from gateway.mapping.scope import ABSENT, SECTIONS, Run, Scope
from gateway.mapping.values import NUMBERS, TREES, ZEROS, elements, kept, prune, walk

DEEPEST = 24
"""Indented deeper, a piece becomes a function of its own: Python allows 100 levels."""
HELPERS: dict[str, Any] = {
    **{"type": type, "isinstance": isinstance, "enumerate": enumerate, "list": list, "dict": dict, "str": str},
    **{"int": int, "float": float, "len": len},
    **{"ABSENT": ABSENT, "FAILURES": FAILURES, "LOW": -(2**30), "HIGH": 2**30, "NOTHING": {}, "NUMBERS": NUMBERS},
    **{"TREES": TREES, "ZEROS": ZEROS, "elements": elements, "iso": iso, "kept": kept, "prune": prune, "walk": walk},
}
"""All that a written function can call by itself. Between LOW and HIGH are the integers that compare fastest."""
_ROOTS = {"event": "data", "name": "scope.name", "now": "iso(scope.now)", "res": "scope.reply", "f": "scope.failure"}
_ROOTS |= {"body": "scope.body", "wrap": "scope.wrap"}


class Code:
    """Something compiled. `constant` tells that `value` is what every run gives; `keeps`: stays although empty.

    The rest lets the pieces around it write less: `test`: gives true or false. `flat`: gives no map or list that could hold
    empties. `falsy`: is empty wherever it is false (never a number or a boolean). `bare`: the same before it was pruned.
    `entry`: this is a list of one expression, that one. `into`: writes its fields into a map that exists. `present`: gives
    the text of a test without which the value is null, and `given` writes what is left to do where it holds: most of what a
    mapping asks for is not in an event, and `if K1 in user` is the cheapest way to find out.
    """

    __slots__ = (
        "_run", "_write", "bare", "constant", "entry", "falsy", "flat", "given", "into", "keeps", "present", "test", "value",
        "written",
    )  # fmt: skip

    def __init__(
        self,
        write: Callable[[Writer], str],
        *,
        constant: bool = False,
        value: Any = None,
        keeps: bool = False,
        test: bool = False,
        flat: bool = False,
        falsy: bool = False,
        bare: Code | None = None,
        entry: Code | None = None,
        into: Callable[[Writer, str], None] | None = None,
        present: Callable[[Writer], str] | None = None,
        given: Callable[[Writer], str] | None = None,
    ) -> None:
        self._write = write
        self._run: Run | None = None
        self.written: Writer | None = None
        self.constant, self.value, self.keeps, self.test = constant, value, keeps, test
        self.flat, self.falsy, self.bare, self.entry, self.into = flat, falsy, bare, entry, into
        self.present, self.given = present, given or self.put

    def put(self, out: Writer) -> str:
        """Write the statements; gives the text of the value's expression, to be used once."""
        if self.constant:
            return out.bind(self.value)
        return out.outlined(self) if out.depth > DEEPEST else self._write(out)

    def body(self, out: Writer) -> str:
        """As `put`, whatever the depth."""
        return self._write(out)

    @property
    def function(self) -> Run:
        """The finished function; written and compiled now if it is not yet."""
        if self._run is None:
            self._run = self._constant() if self.constant else self._compiled()
        return self._run

    @property
    def run(self) -> Run:
        """The function, or one that becomes it at its first call: most pieces of a file run seldom or never."""
        return self._run or (lambda scope: self.function(scope))

    def _constant(self) -> Run:
        value = self.value
        return lambda scope: value

    def _compiled(self) -> Run:
        self.written = out = Writer()
        result = self._write(out)
        out.line(f"return True if {result} else False" if self.test else f"return {result}")
        return out.function()

    @property
    def source(self) -> str:
        """The written Python; empty for a constant."""
        _ = self.function
        return self.written.source() if self.written else ""

    @property
    def legend(self) -> dict[str, str]:
        """What the names in `source` stand for: keys as they are, values by their type alone (they may be secret)."""
        return dict(self.written.legend) if self.written else {}


def constant(value: Any, *, keeps: bool = False) -> Code:
    """Code that gives a value known at load."""
    return Code(lambda out: out.bind(value), constant=True, value=value, keeps=keeps)


class _Frame:
    """A function or the inside of a loop: what it fetches once stands at its top."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.lines: list[str] = []
        self.fetched: dict[Hashable, str] = {}


@dataclass(slots=True)
class _Loop:
    """An open loop: the names of its item and index, whether the index is used, and what is fetched once per item."""

    item: str
    index: str
    frame: _Frame
    counted: bool = False


class Writer:
    """One function while it is written; `line`, `block` and `temp` add to it. `loops` are the open loops by their slot."""

    def __init__(self, parent: Writer | None = None, name: str = "run") -> None:
        self.objects: dict[str, Any] = parent.objects if parent else {}
        self.legend: dict[str, str] = parent.legend if parent else {}
        self._names: dict[Hashable, str] = parent._names if parent else {}
        self._functions: list[Writer] = parent._functions if parent else []
        self._count: int = parent._count if parent else 0
        self._name = name
        self.depth = 1
        self._lines: list[str | _Frame] = []
        self._top = _Frame(1)
        self._lines.append(self._top)
        outer: dict[int, _Loop] = parent.loops if parent else {}
        self.loops: dict[int, _Loop] = {slot: _Loop(loop.item, loop.index, self._top) for slot, loop in outer.items()}
        self._handed = [name for loop in self.loops.values() for name in (loop.item, loop.index)]
        self._functions.append(self)

    def bind(self, value: Any, shown: str = "") -> str:
        """The name under which the function finds an object; null, true and false are written out."""
        if value is None or value is True or value is False:
            return str(value)
        same: Hashable = (type(value), value) if type(value) in (str, int, bool) else id(value)
        known = self._names.get(same)
        if known is None:
            known = f"K{len(self.objects) + 1}"
            self._names[same] = known
            self.objects[known] = value
            self.legend[known] = shown or type(value).__name__
        return known

    def key(self, text: str) -> str:
        """The name of a key, which the legend shows; in quotes, as it stands for a constant of the code (see `function`)."""
        return f'"{self.bind(text, repr(text))}"'

    def key_path(self, steps: tuple[str | int, ...]) -> str:
        """The name of several steps."""
        return self.bind(steps, repr(steps))

    def name(self, letter: str = "v") -> str:
        """A name that is not used yet."""
        self._count += 1
        return f"{letter}{self._count}"

    def line(self, text: str) -> None:
        """One statement."""
        self._lines.append("    " * self.depth + text)

    def temp(self, text: str, letter: str = "v") -> str:
        """The name of a new variable that holds an expression."""
        name = self.name(letter)
        self.line(f"{name} = {text}")
        return name

    def own(self, text: str) -> str:
        """A name for an expression, that can be given another value: a variable that was made for it, or a new one."""
        return text if text.isidentifier() and text[0] == "v" else self.temp(text)

    def hold(self, text: str) -> str:
        """A name for an expression, so that it can be used more than once."""
        return text if text.isidentifier() else self.temp(text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """What is written inside stands under `header:`."""
        self.line(f"{header}:")
        self.depth += 1
        yield
        self.depth -= 1

    @contextmanager
    def loop(self, slot: int, values: str) -> Iterator[None]:
        """What is written inside runs for each of the values."""
        head = len(self._lines)
        with self.block("for"):
            loop = _Loop(self.name("item"), self.name("i"), _Frame(self.depth))
            self._lines.append(loop.frame)
            before, self.loops = self.loops, {**self.loops, slot: loop}
            yield
            self.loops = before
        counted = f"{loop.index}, {loop.item} in enumerate({values})" if loop.counted else f"{loop.item} in {values}"
        self._lines[head] = "    " * self.depth + f"for {counted}:"

    def mark(self) -> int:
        """A place to which `undo` can go back."""
        return len(self._lines)

    def empty(self, name: str, code: Code) -> str:
        """The text of the test whether a piece's value is empty."""
        return f"not {name}" if code.falsy else f"not {name} and ({name} is None or type({name}) not in ZEROS)"

    def filled(self, name: str, code: Code) -> str:
        """The text of the test whether a piece's value is not empty."""
        return name if code.falsy else f"{name} or type({name}) in ZEROS"

    def undo(self, mark: int) -> None:
        """Take out what was written since."""
        del self._lines[mark:]

    def root(self, root: str, slot: int = -1) -> str:
        """The value of a root (`user`, `event`, `res` …), or of the loop variable in a slot (an odd one is an index)."""
        if slot < 0:
            return f'data.get("{root}")' if root in SECTIONS else _ROOTS[root]
        loop = self.loops.get(slot & ~1)
        if loop is None:
            return f"scope.locals[{slot}]"
        loop.counted = loop.counted or bool(slot & 1)
        return loop.index if slot & 1 else loop.item

    def section(self, root: str, slot: int, steps: tuple[str | int, ...]) -> str:
        """A variable that holds the map at a path, an empty one where there is none: fetched once per function or loop."""
        frame = self.loops[slot].frame if slot in self.loops else self._top
        if root == "event" and steps and steps[0] in SECTIONS:
            root, steps = str(steps[0]), steps[1:]
        if root == "event" and not steps:
            return "data"
        place = (root, slot, steps)
        if place not in frame.fetched:
            pad = "    " * frame.depth
            name = root if slot < 0 and not steps else self.name("d")
            if steps and isinstance(steps[-1], str):  # mostly absent
                holder, key = self.section(root, slot, steps[:-1]), self.key(steps[-1])
                frame.lines.append(f"{pad}{name} = NOTHING")
                frame.lines.append(f"{pad}if {key} in {holder} and type(d := {holder}[{key}]) is dict: {name} = d")
            else:
                value = self.element(self.root(root, slot), steps) if steps else self.root(root, slot)
                frame.lines.append(f"{pad}if type({name} := {value}) is not dict: {name} = NOTHING")
            frame.fetched[place] = name
        return frame.fetched[place]

    def element(self, root: str, steps: tuple[str | int, ...]) -> str:
        """The text of what stands at a path that ends with a position; the first of a list is taken at once."""
        walked = f"walk({root}, {self.key_path(steps)})"
        if steps != (0,):
            return walked
        name = self.name()
        return f"{name}[0] if type({name} := {root}) is list and {name} else walk({name}, {self.key_path(steps)})"

    def outlined(self, code: Code) -> str:
        """The call of a function of its own for a piece that stands too deep."""
        for loop in self.loops.values():
            loop.counted = True
        child = Writer(self, f"run{len(self._functions)}")
        child.line(f"return {code.body(child)}")
        self._count = child._count
        return f"{child._name}({child._parameters()})"

    def _parameters(self) -> str:
        return ", ".join(("scope", *self._handed))

    def source(self) -> str:
        """The whole text: helpers that stood too deep, then `run`."""
        return "\n".join(line for writer in reversed(self._functions) for line in writer._text())

    def _text(self) -> Iterator[str]:
        yield f"def {self._name}({self._parameters()}):"
        yield "    data = scope.data"
        for line in self._lines:
            if isinstance(line, str):
                yield line
            else:
                yield from line.lines

    def function(self) -> Callable[[Scope], Any]:
        """The compiled function."""
        space: dict[str, Any] = {"__builtins__": {}, **HELPERS, **self.objects}
        exec(_compiled(self.source()), space)  # text of this package alone: see the docstring
        for writer in self._functions:
            function = space[writer._name]
            function.__code__ = _keyed(function.__code__, self.objects)
        made: Callable[[Scope], Any] = space["run"]
        return made


def _keyed(code: CodeType, objects: Mapping[str, Any]) -> CodeType:
    """The code with its keys in the places of their names, as constants: globals beyond the 128th are slow to look up."""
    constants = [objects.get(one, one) if type(one) is str else one for one in code.co_consts]
    return code.replace(co_consts=tuple(constants))


@lru_cache(maxsize=1024)
def _compiled(source: str) -> CodeType:
    """Rules of one shape (twenty events with the same cart) share their code; only the objects differ."""
    return compile(source, "<mapping>", "exec")
