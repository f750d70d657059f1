"""The grammar of mapping expressions, read by hand into small immutable nodes that know their text.

    expr      := alt ( '|' call )*                  a // b | f   applies f to the result: (a // b) | f
    alt       := primary ( '//' primary )*          first that is not empty
    primary   := path | number | 'text' | "text" | true | false | null | '[' list ']' | '(' expr ')'
    call      := name ( ':' arg ( ',' arg )* )?     a call takes commas only up to the number of arguments it knows
    arg       := primary | bareword
    condition := 'or' of 'and' of: not? expr ( ('=='|'!='|'>'|'>='|'<'|'<='|'in') expr )?      with ( )
    text      := "Order ${expr} of ${expr}"         `$${` is the text `${`

Nothing here knows what a function does or whether a setting exists: compile.py does, so that trace.py can share the nodes.
Raises ExpressionError with a column (from 1) for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.mapping.nodes import (
    COMPARISONS,
    Alt,
    Call,
    Compare,
    Const,
    Junction,
    ListOf,
    Node,
    Not,
    Path,
    Pipe,
    Template,
    Word,
)

DEPTH = 40
"""Parentheses and lists nested deeper are refused, so that no expression can exhaust the stack."""
_LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<path>\$[A-Za-z_]\w*(?:\.[\w$][\w$-]*|\[\s*(?:\d+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*\])*)
    | (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w]))
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<op>//|\|\||&&|==|!=|>=|<=|[|:,()\[\]<>=])
    | (?P<word>[^\W\d][\w.%-]*)
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_STEP = re.compile(r"""\.([\w$][\w$-]*)|\[\s*(?:(\d+)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))\s*\]""")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t"}


class ExpressionError(ValueError):
    """What is wrong with an expression, and the column (from 1) within its text."""

    def __init__(self, message: str, column: int, *, ended: bool = False) -> None:
        super().__init__(message)
        self.column = column
        self.ended = ended


MaxArgs = Callable[[str], int | None]
"""How many arguments a function takes at most; None for no limit or an unknown function."""


def parse_expression(text: str, max_args: MaxArgs) -> Node:
    """Read an expression. Raises ExpressionError."""
    parser = _Parser(text, max_args, conditions=False)
    return parser.whole(parser.expr)


def parse_condition(text: str, max_args: MaxArgs) -> Node:
    """Read a condition. Raises ExpressionError."""
    parser = _Parser(text, max_args, conditions=True)
    return parser.whole(parser.condition)


def parse_template(text: str, max_args: MaxArgs) -> Node:
    """Read text with holes; without any it is a Const. Raises ExpressionError."""
    parts: list[str | Node] = []
    literal, at = "", 0
    while (start := text.find("${", at)) >= 0:
        if start > 0 and text[start - 1] == "$" and start > at:
            literal += text[at : start - 1] + "${"
            at = start + 2
            continue
        literal += text[at:start]
        end = _closing(text, start)
        hole = text[start + 2 : end]
        if re.fullmatch(r"[A-Z_][A-Z0-9_]*(:-.*)?|file:.*", hole.strip()):
            raise ExpressionError(
                f"${{{hole}}} is not read here: the environment is read under `settings` only, use $setting.<name>", start + 1
            )
        if literal:
            parts.append(literal)
            literal = ""
        parser = _Parser(hole, max_args, conditions=False, offset=start + 2)
        parts.append(parser.whole(parser.expr))
        at = end + 1
    literal += text[at:]
    if not any(not isinstance(part, str) for part in parts):
        return Const(text, literal)
    if literal:
        parts.append(literal)
    return Template(text, tuple(parts))


def _closing(text: str, start: int) -> int:
    """The index of the brace that closes the hole at `start`, past braces inside quotes."""
    quote, at = "", start + 2
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "}":
            return at
        at += 1
    raise ExpressionError("a hole `${` is not closed by `}`", start + 1, ended=True)


def unquote(text: str) -> str:
    """The value of quoted text: backslash keeps the next character, `\\n` and `\\t` are a line break and a tab."""
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


class _Parser:
    """Recursive descent over a token list."""

    def __init__(self, text: str, max_args: MaxArgs, *, conditions: bool, offset: int = 0) -> None:
        self.source = text
        self.max_args = max_args
        self.conditions = conditions
        self.offset = offset
        self.depth = 0
        self.tokens = self._scan()
        self.at = 0

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while True:
            match = _TOKEN.match(self.source, position)
            if match is None:
                rest = self.source[position:].lstrip()
                raise ExpressionError(self._unreadable(rest), self.offset + len(self.source) - len(rest) + 1)
            kind = match.lastgroup or "end"
            tokens.append(_Token(kind, match[kind], match.start(kind), match.end()))
            if kind == "end":
                return tokens
            position = match.end()

    @staticmethod
    def _unreadable(rest: str) -> str:
        if rest[0] in "'\"":
            return f"text is not closed by {rest[0]}"
        if rest.startswith("??"):
            return "`??` is not known here; the first that is not empty is `a // b`"
        if rest[0] == "$":
            return "`$` must be followed by a name such as $user.email; write $$ for the sign itself"
        return f"{rest[0]!r} cannot stand here"

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def fail(self, message: str, token: _Token | None = None) -> ExpressionError:
        token = token or self.token
        return ExpressionError(message, self.offset + token.start + 1, ended=token.kind == "end")

    def accept(self, *ops: str, kind: str = "op") -> _Token | None:
        token = self.token
        if token.kind == kind and token.text in ops:
            self.at += 1
            return token
        return None

    def expect(self, op: str) -> None:
        if not self.accept(op):
            raise self.fail(f"`{op}` expected" + self._found())

    def _found(self) -> str:
        return ", the text ends here" if self.token.kind == "end" else f", found {self.token.text!r}"

    def since(self, start: int) -> str:
        """The source from a token's start up to the last token read."""
        return self.source[start : self.tokens[self.at - 1].end].strip()

    def whole(self, rule: Callable[[], Node]) -> Node:
        if self.token.kind == "end":
            raise self.fail("an expression is missing")
        node = rule()
        if self.token.kind != "end":
            raise self.fail(self._leftover())
        return node

    def _leftover(self) -> str:
        token = self.token
        if token.text in ("||", "&&"):
            return f"`{token.text}` is not known here; conditions use `or` and `and`, functions follow a single `|`"
        if not self.conditions and (token.text in COMPARISONS or token.text in ("and", "or", "in")):
            return f"{token.text!r} belongs to a condition; a value takes one with `$when: … ` beside `$value: …`"
        if token.kind == "op" and token.text == ",":
            return "`,` cannot stand here: the function before it takes no more arguments"
        return f"{token.text!r} cannot stand here"

    def condition(self) -> Node:
        return self._junction("or", lambda: self._junction("and", self._negation))

    def _junction(self, word: str, rule: Callable[[], Node]) -> Node:
        start = self.token.start
        operands = [rule()]
        while self.accept(word, kind="word"):
            operands.append(rule())
        return operands[0] if len(operands) == 1 else Junction(self.since(start), word == "and", tuple(operands))

    def _negation(self) -> Node:
        start = self.token.start
        if self.accept("not", kind="word"):
            with_depth = self._deeper(self._negation)
            return Not(self.since(start), with_depth)
        left = self.expr()
        op = self.accept(*COMPARISONS) or self.accept("in", kind="word")
        if op is None:
            if self.token.kind == "op" and self.token.text == "=":
                raise self.fail("`=` is not known here; equality is `==`")
            return left
        right = self.expr()
        return Compare(self.since(start), op.text, left, right)

    def expr(self) -> Node:
        start = self.token.start
        base = self._alt()
        calls: list[Call] = []
        while self.accept("|"):
            calls.append(self._call())
        return Pipe(self.since(start), base, tuple(calls)) if calls else base

    def _alt(self) -> Node:
        start = self.token.start
        options = [self._primary()]
        while self.accept("//"):
            options.append(self._primary())
        return options[0] if len(options) == 1 else Alt(self.since(start), tuple(options))

    def _call(self) -> Call:
        name = self.token
        if name.kind != "word":
            raise self.fail("a function's name is expected after `|`" + self._found())
        self.at += 1
        args: list[Node | Word] = []
        if self.accept(":"):
            args.append(self._arg(name))
            limit = self.max_args(name.text)
            while (limit is None or len(args) < limit) and self.accept(","):
                args.append(self._arg(name))
        return Call(self.since(name.start), name.text, tuple(args), self.offset + name.start + 1)

    def _arg(self, name: _Token) -> Node | Word:
        token = self.token
        if token.kind == "word" and token.text not in _LITERALS:
            self.at += 1
            return Word(token.text)
        if token.kind == "end":
            raise self.fail(f"{name.text} lacks an argument")
        return self._primary()

    def _deeper(self, rule: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > DEPTH:
            raise self.fail(f"nested deeper than {DEPTH}")
        node = rule()
        self.depth -= 1
        return node

    def _primary(self) -> Node:
        token = self.token
        self.at += 1
        if token.kind == "path":
            return path(token.text)
        if token.kind == "number":
            return Const(token.text, float(token.text) if re.search(r"[.eE]", token.text) else int(token.text))
        if token.kind == "text":
            return self._text(token)
        if token.kind == "word" and token.text in _LITERALS:
            return Const(token.text, _LITERALS[token.text])
        if token.text == "(" and token.kind == "op":
            inner = self._deeper(self.condition if self.conditions else self.expr)
            self.expect(")")
            return inner
        if token.text == "[" and token.kind == "op":
            return self._deeper(lambda: self._list(token))
        self.at -= 1
        raise self.fail(self._no_primary(token))

    def _text(self, token: _Token) -> Node:
        value = unquote(token.text)
        if "${" not in value:
            return Const(token.text, value)
        try:
            return self._deeper(lambda: parse_template(value, self.max_args))
        except ExpressionError as error:
            raise self.fail(f"{error} (in {token.text})", token) from None

    def _no_primary(self, token: _Token) -> str:
        if token.kind == "word":
            return f"{token.text!r} is a bare word: put text in quotes, a path starts with `$`"
        return "a path, number or quoted text is expected" + self._found()

    def _list(self, opening: _Token) -> Node:
        items: list[Node] = []
        while not self.accept("]"):
            if items:
                self.expect(",")
            items.append(self.expr())
        return ListOf(self.since(opening.start), tuple(items))


def path(text: str) -> Path:
    """Take `$user.traits["odd key"][0]` apart; `text` must match the grammar."""
    root = re.match(r"\$\w+", text)
    if root is None:
        raise ExpressionError("a path starts with `$` and a name", 1)
    steps: list[str | int] = []
    for name, index, quoted in _STEP.findall(text, root.end()):
        steps.append(int(index) if index else unquote(quoted) if quoted else name)
    return Path(text, root[0][1:], tuple(steps))
