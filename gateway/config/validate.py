"""Checks a marked tree against a pydantic model and says each mistake with its file, line and key.

The declared type decides: every scalar is handed over as the text that was written, so `pixel_id: 0123` under a text field
stays "0123" and `rps: 50` under a number is 50. A key whose value is null counts as absent. Fields declared `Any` get the
marked tree itself. No message repeats a value, unless it is a near match of a closed list outside of secrets.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from gateway.config.tree import Mark, MarkedList, MarkedMap
from gateway.config.words import hint, suspicious
from gateway.errors import Problem

Model = TypeVar("Model", bound=BaseModel)

_KINDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a map of keys",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_type": "must be a whole number",
    "list_type": "must be a list, for example [a, b]",
    "missing": "is missing",
    "model_type": "must be a map of keys",
    "string_type": "must be text",
    "string_sub_type": "must be text",
}
_BOUNDS = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


def validated(
    model: type[Model], tree: MarkedMap, *, at: str = "", file: str | None = None, given: Mapping[str, Any] | None = None
) -> tuple[Model | None, list[Problem]]:
    """The model, or None with every problem. `at` is the path of `tree` for messages, `given` adds fields not in the file."""
    values = {**as_declared(tree, model), **(given or {})}
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        problems = [_problem(e, model, tree, at, file or tree.mark.file) for e in error.errors(include_url=False)]
        return None, list(dict.fromkeys(problems))


def as_declared(value: Any, declared: Any) -> Any:
    """A marked tree as the plain maps, lists and texts that pydantic reads; what is declared `Any` stays as it is."""
    declared = _bare(declared)
    if declared is Any or Any in get_args(declared):
        return value
    if isinstance(value, dict):
        fields = _fields(declared)
        other = get_args(declared)[1] if get_origin(declared) is dict else str
        return {str(k): as_declared(v, fields.get(k, other)) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        item = get_args(declared)[0] if get_origin(declared) in (list, tuple) else str
        return [as_declared(v, item) for v in value]
    return str(value) if isinstance(value, str) else value


def mark_at(tree: Any, steps: Sequence[Any]) -> Mark | None:
    """The place of the deepest step that the tree knows; after `extends` its file may differ from the rest."""
    mark: Mark | None = None
    for step in steps:
        known = isinstance(tree, MarkedMap) and step in tree
        if not known and not (isinstance(tree, MarkedList) and isinstance(step, int) and step < len(tree)):
            break
        mark, tree = tree.marks[step], tree[step]
    return mark


def dotted(steps: Iterable[Any], at: str = "") -> str:
    """`("a", 0, "b")` as `a[0].b`."""
    path = at
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def value_at(tree: Any, steps: Sequence[Any]) -> Any:
    """What stands there, or None."""
    for step in steps:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def traps(node: Any, steps: tuple[Any, ...] = (), *, values: bool = True) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Where YAML reads something else than was written, with the word: keys, and values if wanted. For undeclared types."""
    if isinstance(node, MarkedMap):
        for key, value in node.items():
            if suspicious(key):
                yield (*steps, key), key
            yield from traps(value, (*steps, key), values=values)
    elif isinstance(node, MarkedList):
        for index, value in enumerate(node):
            yield from traps(value, (*steps, index), values=values)
    elif values and isinstance(node, str) and suspicious(node):
        yield steps, node


def trap_problems(node: Any, at: str, mark: Mark, *, values: bool = True) -> list[Problem]:
    """The same as problems of what stands at the path `at`."""
    found = [(steps, word, mark_at(node, steps) or mark) for steps, word in traps(node, values=values)]
    return [Problem(f"{dotted(steps, at)} {suspicious(word)}", place.file, place.line) for steps, word, place in found]


def without_echo(problems: list[Problem], said: list[Problem]) -> list[Problem]:
    """Leaves out what only follows from a problem that was said already: same place, same key."""
    heard = {(p.file, p.line, p.message.split(" ")[0]) for p in said}
    return [p for p in problems if (p.file, p.line, p.message.split(" ")[0]) not in heard]


def _bare(declared: Any) -> Any:
    """A declared type without Annotated and without `| None`."""
    while True:
        if get_origin(declared) is Annotated:
            declared = get_args(declared)[0]
        elif get_origin(declared) in (Union, types.UnionType):
            declared = next(a for a in get_args(declared) if a is not type(None))
        else:
            return declared


def _fields(declared: Any) -> dict[str, Any]:
    if isinstance(declared, type) and issubclass(declared, BaseModel):
        return {field.alias or name: field.annotation for name, field in declared.model_fields.items()}
    return {}


def _declared_at(model: Any, steps: Sequence[Any]) -> Any:
    """The declared type under a path of keys and indices; None where nothing is declared."""
    declared = _bare(model)
    for step in steps:
        if (fields := _fields(declared)) and step in fields:
            declared = _bare(fields[step])
        elif get_origin(declared) in (dict, list):
            declared = _bare(get_args(declared)[-1])
        else:
            return None
    return declared


def _problem(error: Any, model: type[BaseModel], tree: MarkedMap, at: str, file: str) -> Problem:
    steps = [step for step in error["loc"] if step != "[key]"]
    place = steps if error["type"] != "missing" else steps[:-1]
    message = f"{dotted(steps, at)} {_message(error, model, tree, steps)}"
    mark = mark_at(tree, place)
    return Problem(message, mark.file if mark else file, mark.line if mark else None)


def _message(error: Any, model: type[BaseModel], tree: MarkedMap, steps: list[Any]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        known = [name for name in _fields(_declared_at(model, steps[:-1])) if name not in UNWRITTEN]
        return f"is not a known key{hint(str(steps[-1]), known)}"
    if kind == "literal_error":
        return _choices(_declared_at(model, steps), value_at(tree, steps))
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {error['ctx'][name]:g}"
    if kind == "string_type" and _declared_at(model, steps) is SecretStr:
        return "must be text"
    return _KINDS.get(kind) or "cannot be read: " + str(error["msg"]).split(",")[0].lower()


def _choices(declared: Any, written: Any) -> str:
    words = [str(word) for word in get_args(declared)] if get_origin(declared) is Literal else []
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
    found = hint(written, words) if isinstance(written, str) else ""
    return f"must be {listed}" + (found if "did you mean" in found else "")


UNWRITTEN = frozenset({"name", "file", "tree", "hash", "files", "folders", "held"})
"""Fields of our models that no file may hold: they are left out of hints."""
