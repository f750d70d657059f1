"""Reads a vendor's reply: the manifest's `response` rules, first match wins, then the built-in table (design §5).

A rule matches by `status` (a number, a list, `4xx`, `400-499`) and `body` (a condition over $res, the parsed body; null where
it is not JSON), and says `then` (delivered retry rejected split pause) or `partial`. `reason` is a closed word of
outcomes.FAILURE_REASONS, `error` the vendor's words, `retry_after` seconds.

`partial: {list, index | id | path, error, retryable, then, rest}` names the failed items: `index` is the place in the batch,
`id` the vendor event id, `path` a text whose first number is the place (`Batch.3.properties`, `events[3].user`). Failures
are `then` (rejected), or retry where `retryable` holds; the others are `rest` (delivered). An empty list is no match unless
the status is 2xx. A failure that names nobody splits a batch of several, and is the single event's otherwise.

A `split` of a request of one event is `rejected`: there is nothing left to halve.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from gateway.config.tree import Scalar
from gateway.destination import Batch, Judgement, Reply, Verdict
from gateway.mapping.compile import compile_condition, compile_scalar
from gateway.mapping.functions import as_text, is_empty, to_number
from gateway.mapping.scope import FAILURE, REPLY, Context, Run, Scope, check_keys
from gateway.mapping.structure import compile_shape
from gateway.mapping.values import elements
from gateway.mapping.writer import Code
from gateway.outcomes import FAILURE_REASONS

RULE_KEYS = ("status", "body", "then", "partial", "reason", "error", "retry_after")
PARTIAL_KEYS = ("list", "index", "id", "path", "error", "retryable", "then", "rest")
MAX_WAIT = 3600.0
MAX_WORDS = 500
RETRIED = frozenset((408, 425, 429))
_RANGE = re.compile(r"(\d{3})-(\d{3})|([1-5])xx")
_NUMBER = re.compile(r"\d+")
_ERRORS = ("timeout", "connect", "tls", "dns")


@dataclass(frozen=True, slots=True)
class Partial:
    """Where a reply lists failed items, and how one of them names its event."""

    items: Run
    index: Run | None
    id: Run | None
    path: Run | None
    error: Run | None
    retryable: Run | None
    then: Verdict
    rest: Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """One response rule."""

    statuses: tuple[tuple[int, int], ...]
    body: Run | None
    then: Verdict | None
    partial: Partial | None
    reason: str
    error: Run | None
    retry_after: Run | None

    def matches(self, status: int, scope: Scope) -> bool:
        """Whether the rule is for this reply."""
        if self.statuses and not any(low <= status <= high for low, high in self.statuses):
            return False
        return self.body is None or bool(self.body(scope))


class Reader:
    """A manifest's response rules over the built-in table."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules

    def read(self, reply: Reply, batch: Batch) -> list[Judgement]:
        """One judgement per part."""
        if not reply.status:
            reason = reply.error if reply.error in _ERRORS else "connect"
            return [Judgement(Verdict.RETRY, reason, reply.error)] * len(batch)
        scope = Scope({})
        scope.reply = reply.json() if reply.body else None
        for rule in self._rules:
            if not rule.matches(reply.status, scope):
                continue
            judged = _partial(rule, reply, scope, batch) if rule.partial else _judged(rule, reply, scope, batch)
            if judged is not None:
                return judged
        return by_status(reply, batch)


def by_status(reply: Reply, batch: Batch) -> list[Judgement]:
    """The built-in table."""
    verdict = verdict_of(reply.status)
    if verdict is Verdict.DELIVERED:
        return [Judgement(verdict)] * len(batch)
    reason = reason_of(reply.status)
    return _all(verdict, reason, words(reply), retry_after(reply.headers), batch)


def verdict_of(status: int) -> Verdict:
    """A status' verdict; a redirect is a failure of the address and is tried again, as is whatever is no real answer."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status in RETRIED or status < 400 or (status >= 500 and status != 501):
        return Verdict.RETRY
    return Verdict.PAUSE if status in (401, 403) else Verdict.SPLIT


def reason_of(status: int) -> str:
    """The closed reason of a status that is no success."""
    if status in (401, 403):
        return "auth"
    if status in (413, 429):
        return "too_large" if status == 413 else "rate"
    return "vendor_4xx" if 400 <= status < 500 else "vendor_5xx" if status >= 500 else "vendor_code"


def _all(verdict: Verdict, reason: str, detail: str, wait: float | None, batch: Batch) -> list[Judgement]:
    if verdict is Verdict.DELIVERED:
        return [Judgement(verdict)] * len(batch)
    if verdict is Verdict.SPLIT and len(batch) == 1:
        verdict = Verdict.REJECTED
    return [Judgement(verdict, reason, detail, wait if verdict in (Verdict.RETRY, Verdict.PAUSE) else None)] * len(batch)


def words(reply: Reply) -> str:
    """The beginning of the body, as the vendor's own words."""
    text = " ".join(reply.body[: 4 * MAX_WORDS].decode("utf-8", "replace").split())
    return f"HTTP {reply.status}: {text}"[:MAX_WORDS] if text else f"HTTP {reply.status}"


def _judged(rule: Rule, reply: Reply, scope: Scope, batch: Batch) -> list[Judgement]:
    verdict = rule.then or Verdict.DELIVERED
    return _all(verdict, _reason(rule, verdict, reply), _detail(rule.error, reply, scope), _wait(rule, reply, scope), batch)


def _reason(rule: Rule, verdict: Verdict, reply: Reply) -> str:
    if rule.reason:
        return rule.reason
    if rule.body is None and reply.status >= 400:
        return reason_of(reply.status)
    return "auth" if verdict is Verdict.PAUSE else "vendor_code"


def _detail(error: Run | None, reply: Reply, scope: Scope) -> str:
    said = as_text(error(scope)) if error else None
    return said[:MAX_WORDS] if said else words(reply)


def _wait(rule: Rule, reply: Reply, scope: Scope) -> float | None:
    seconds = to_number(rule.retry_after(scope)) if rule.retry_after else None
    return retry_after(reply.headers) if seconds is None else min(max(float(seconds), 0.0), MAX_WAIT)


def _partial(rule: Rule, reply: Reply, scope: Scope, batch: Batch) -> list[Judgement] | None:
    partial = rule.partial
    failures = elements(partial.items(scope)) if partial else []
    if partial is None or (not failures and not 200 <= reply.status < 300):
        return None
    wait = _wait(rule, reply, scope)
    reason = rule.reason or "vendor_code"
    rest = Judgement(partial.rest, "" if partial.rest is Verdict.DELIVERED else reason, "", wait)
    out = [rest] * len(batch)
    for failure in failures:
        scope.failure = failure
        place = _place(partial, scope, batch)
        if place is None:
            return _all(Verdict.SPLIT, reason, _detail(partial.error, reply, scope), wait, batch)
        retried = partial.retryable is not None and bool(partial.retryable(scope))
        verdict = Verdict.RETRY if retried else partial.then
        detail = _detail(partial.error, reply, scope)
        out[place] = Judgement(verdict, "" if verdict is Verdict.DELIVERED else reason, detail, wait if retried else None)
    return out


def _place(partial: Partial, scope: Scope, batch: Batch) -> int | None:
    """Which part a failure is about; the only part there is, or None where it names nobody."""
    if partial.id:
        named = as_text(partial.id(scope))
        for place, part in enumerate(batch.parts):
            if named == part.id:
                return place
    number = to_number(partial.index(scope)) if partial.index else None
    if number is None and partial.path:
        found = _NUMBER.search(as_text(partial.path(scope)) or "")
        number = int(found[0][:9]) if found else None
    if number is not None and 0 <= number < len(batch) and number == int(number):
        return int(number)
    return 0 if len(batch) == 1 else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for, at most one hour; a date is read against the reply's own Date."""
    lowered = {name.lower(): value for name, value in headers.items() if name.lower() in ("retry-after", "date")}
    asked = lowered.get("retry-after", "").strip()
    if not asked:
        return None
    seconds = to_number(asked)
    if seconds is None:
        until = _instant(asked)
        if until is None:
            return None
        since = _instant(lowered.get("date", ""))
        seconds = until - (time.time() if since is None else since)
    return min(max(float(seconds), 0.0), MAX_WAIT)


def _instant(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def compile_replies(tree: Any, context: Context) -> Reader:
    """The reader of a manifest's `response`. Notes problems."""
    inner = context.at("response")
    if tree is None:
        return Reader(())
    if not isinstance(tree, list):
        inner.problem("must be a list of rules", tree)
        return Reader(())
    rules = [_rule(one, inner.narrowed(shown=f"response[{i}]", roots=REPLY, field="response")) for i, one in enumerate(tree)]
    return Reader(tuple(rule for rule in rules if rule))


def _rule(tree: Any, context: Context) -> Rule | None:
    if not check_keys(context, tree, RULE_KEYS):
        return None
    if ("then" in tree) == ("partial" in tree):
        context.problem("needs either `then` or `partial`", tree)
        return None
    reason = str(tree.get("reason") or "")
    if reason and reason not in FAILURE_REASONS:
        context.unknown("reason", reason, FAILURE_REASONS, tree["reason"])
    return Rule(
        statuses=_statuses(tree.get("status"), context.at("status")),
        body=compile_condition(tree["body"], context.at("body")).run if "body" in tree else None,
        then=_verdict(tree["then"], context.at("then")) if "then" in tree else None,
        partial=_compile_partial(tree["partial"], context.at("partial")) if "partial" in tree else None,
        reason=reason,
        error=_run(tree, "error", context),
        retry_after=_run(tree, "retry_after", context),
    )


def _compile_partial(tree: Any, context: Context) -> Partial | None:
    if not check_keys(context, tree, PARTIAL_KEYS):
        return None
    if "list" not in tree or not any(key in tree for key in ("index", "id", "path")):
        context.problem("needs `list`, and one of `index`, `id`, `path`", tree)
        return None
    inner = context.narrowed(roots=FAILURE)
    return Partial(
        items=compile_shape(tree["list"], context.at("list")).run,
        index=_run(tree, "index", inner),
        id=_run(tree, "id", inner),
        path=_run(tree, "path", inner),
        error=_run(tree, "error", inner),
        retryable=compile_condition(tree["retryable"], inner.at("retryable")).run if "retryable" in tree else None,
        then=_verdict(tree.get("then", "rejected"), inner.at("then")) or Verdict.REJECTED,
        rest=_verdict(tree.get("rest", "delivered"), inner.at("rest")) or Verdict.DELIVERED,
    )


def _run(tree: Any, key: str, context: Context) -> Run | None:
    if key not in tree or is_empty(tree[key]):
        return None
    leaf = tree[key]
    code: Code = compile_scalar(leaf, context.at(key)) if isinstance(leaf, Scalar) else compile_shape(leaf, context.at(key))
    return code.run


def _verdict(word: Any, context: Context) -> Verdict | None:
    known = [verdict.value for verdict in Verdict]
    if word not in known:
        context.unknown("verdict", str(word), known, word)
        return None
    return Verdict(str(word))


def _statuses(given: Any, context: Context) -> tuple[tuple[int, int], ...]:
    out = []
    for one in given if isinstance(given, list) else [] if given is None else [given]:
        text = str(one)
        match = _RANGE.fullmatch(text)
        if text.isdigit() and 100 <= int(text) <= 599:
            out.append((int(text), int(text)))
        elif match and match[3]:
            out.append((int(match[3]) * 100, int(match[3]) * 100 + 99))
        elif match:
            out.append((int(match[1]), int(match[2])))
        else:
            context.problem(
                "must be a status such as 400, 4xx or 400-499, or a list of them", one if one is not None else given
            )
    return tuple(out)
