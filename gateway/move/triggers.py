"""Triggers of a container: the events that fire a tag, and the condition beside them.

A trigger is a list of event names. A regular expression, or the beginning of a name, stands for the names of it that are known
here; the rest is said. What a trigger asks beside the name becomes a `when`, where our mapping can say it:

    {{DLV - plan}} equals gold         $props.plan == 'gold'
    {{Page Path}} starts with /thanks  $page.url | matches:'…'

In a server container most triggers fire always and ask for `{{Event Name}}`: that is the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.event import CANONICAL_NAMES
from gateway.move.variables import Fields, Unclear, Variables, parameters, quoted

EVERY = "*"
"""Stands for every event."""
_ALTERNATIVES = re.compile(r"\^?\(?([A-Za-z0-9_.-]+(?:\|[A-Za-z0-9_.-]+)*)\)?\$?", re.ASCII)
_FIRES = {
    "PAGEVIEW": "page_view",
    "DOMREADY": "page_view",
    "WINDOWLOADED": "page_view",
    "HISTORYCHANGE": "page_view",
    "INIT": "page_view",
    "CONSENTINIT": "page_view",
    "CLICK": "click",
    "LINKCLICK": "click",
    "FORMSUBMISSION": "form_submit",
    "SCROLLDEPTH": "scroll",
    "ALWAYS": EVERY,
}
"""Trigger types that say by themselves which event of ours it is."""
_NO_EVENT = {
    "TIMER": "a timer",
    "ELEMENTVISIBILITY": "an element that comes into view",
    "YOUTUBEVIDEO": "a video",
    "JSERROR": "an error of the page's scripts",
    "TRIGGERGROUP": "several triggers that must all have fired",
    "AMPCLICK": "a click on an AMP page",
    "AMPTIMER": "a timer of an AMP page",
    "AMPSCROLL": "scrolling on an AMP page",
    "AMPVISIBILITY": "an element of an AMP page",
}
_BUILT_IN_TRIGGERS = {"2147479553": "page_view", "2147479572": "page_view", "2147479573": "page_view"}
"""All Pages, Consent Initialization, Initialization; in a server container the first is All Events."""
_OF_THE_NAME = ("{{Event Name}}", "{{Event}}", "{{_event}}")
_MET = frozenset({"{{Client Name}}"})
"""What a trigger may ask that is so here anyway: which client took the hit."""
_SEARCHES: Mapping[str, Callable[[str], str]] = {
    "EQUALS": lambda text: f"^(?:{re.escape(text)})$",
    "CONTAINS": re.escape,
    "STARTSWITH": lambda text: f"^(?:{re.escape(text)})",
    "ENDSWITH": lambda text: f"(?:{re.escape(text)})$",
    "MATCHREGEX": lambda text: text,
}
"""A comparison as the pattern that it searches for."""
_NUMBERS = {"GREATER": ">", "GREATEROREQUALS": ">=", "LESS": "<", "LESSOREQUALS": "<="}
_LONGEST = 300


@dataclass(slots=True)
class Fired:
    """The events that fire a tag with the condition of each (empty: none), and what of its triggers was left behind."""

    when: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The events, in the order of the triggers."""
        return list(self.when)

    def add(self, names: Sequence[str], condition: str) -> None:
        """Events of one more trigger; two conditions of one event are alternatives."""
        for name in names:
            before = self.when.get(name, condition)
            both = condition and before and before != condition
            self.when[name] = f"({before}) or ({condition})" if both else condition and before


class Triggers:
    """The triggers of a container; `server` tells whether it is one of a server."""

    def __init__(self, found: Sequence[Fields], variables: Variables, *, server: bool) -> None:
        self._found = {str(one.get("triggerId")): one for one in found}
        self._variables = variables
        self._server = server

    def fired(self, tag: Fields) -> Fired:
        """What fires a tag."""
        fired = Fired()
        for number in tag.get("firingTriggerId") or ():
            try:
                self._fire(str(number), fired)
            except Unclear as error:
                fired.notes.append(str(error))
        if tag.get("blockingTriggerId"):
            fired.notes.append("its exceptions (blocking triggers) are not carried: write them as `when`")
        return fired

    def _fire(self, number: str, fired: Fired) -> None:
        if number in _BUILT_IN_TRIGGERS:
            fired.add([EVERY if self._server else _BUILT_IN_TRIGGERS[number]], "")
            return
        trigger = self._found.get(number)
        if trigger is None:
            raise Unclear(f"trigger {number} is not in the export")
        name, kind = str(trigger.get("name", number)), plain_type(trigger)
        asked = [*_objects(trigger, "filter"), *_objects(trigger, "autoEventFilter")]
        if kind == "CUSTOMEVENT":
            names = _event_names(_objects(trigger, "customEventFilter"), name, fired.notes)
        elif kind in _FIRES:
            of_name = [one for one in asked if parameters(one).get("arg0") in _OF_THE_NAME]
            asked = [one for one in asked if one not in of_name]
            names = _event_names(of_name, name, fired.notes) if of_name else [_FIRES[kind]]
        else:
            words = _NO_EVENT.get(kind, "nothing that is sent")
            raise Unclear(
                f'trigger "{name}" ({trigger.get("type")}) is {words}, which has no event here: send one from the page'
            )
        fired.add(names, self._condition(asked, name, names, fired.notes))

    def _condition(self, asked: Sequence[Fields], trigger: str, names: Sequence[str], notes: list[str]) -> str:
        """What a trigger asks beside the name, as a condition of ours; what cannot be said is a note."""
        said = []
        for one in asked:
            if parameters(one).get("arg0") in _MET:
                continue
            try:
                if EVERY in names:
                    raise Unclear("it stands on every event")
                said.append(self._said(one))
            except Unclear as error:
                notes.append(f'trigger "{trigger}" also asks that {_words(one)}: not carried, write it as `when` ({error})')
        return " and ".join(said)

    def _said(self, one: Fields) -> str:
        given, kind = parameters(one), plain_type(one)
        wanted, asked = self._variables.constant(str(given.get("arg1", ""))), str(given.get("arg0", "")).strip()
        if kind in _NUMBERS and re.fullmatch(r"-?\d+(\.\d+)?", wanted):
            said = f"{self._variables.value(asked)} {_NUMBERS[kind]} {wanted}"
        elif kind not in _SEARCHES:
            raise Unclear(f"{kind.lower()} is no comparison here")
        elif asked in ("{{Page Path}}", "{{Page Hostname}}"):
            said = f"$page.url | matches:{quoted(_of_address(asked, _SEARCHES[kind](wanted)))}"
        else:
            value = self._variables.value(asked)
            if not value.startswith("$") or " " in value:
                raise Unclear(f"{asked} is not one field of the event")
            if kind == "EQUALS":
                said = f"{value} == {quoted(wanted)}"
            else:
                said = f"{value} | matches:{quoted(_whole(_SEARCHES[kind](wanted), given))}"
        negate = str(given.get("negate", "false")).lower() == "true"
        return f"not ({said})" if negate else f"({said})" if "|" in said else said


def _whole(pattern: str, given: Fields) -> str:
    """A pattern that is searched for, as one for the whole text."""
    _checked(pattern)
    start, end = "" if pattern.startswith("^") else ".*", "" if pattern.endswith("$") and not pattern.endswith("\\$") else ".*"
    body = pattern.removeprefix("^") if not start else pattern
    body = body.removesuffix("$") if not end else body
    case = "(?i)" if str(given.get("ignore_case", "false")).lower() == "true" else ""
    return f"{case}{start}(?:{body}){end}"


def _of_address(part: str, pattern: str) -> str:
    """A pattern for the path or the host of an address, as one for the whole of it."""
    _checked(pattern)
    inside = "[^?#]*" if part == "{{Page Path}}" else "[^/?#]*"
    start, end = "" if pattern.startswith("^") else inside, "" if pattern.endswith("$") else inside
    body = f"{start}(?:{pattern.removeprefix('^').removesuffix('$')}){end}"
    return rf"https?://[^/?#]*{body}([?#].*)?" if part == "{{Page Path}}" else rf"https?://{body}(:\d+)?([/?#].*)?"


def _checked(pattern: str) -> None:
    if len(pattern) > _LONGEST:
        raise Unclear("the regular expression is too long")
    if "$" in pattern.removesuffix("$") or "^" in re.sub(r"\[\^", "[", pattern.removeprefix("^")):
        raise Unclear("the regular expression looks at its beginning or end in the middle")
    try:
        re.compile(pattern)
    except re.error:
        raise Unclear("the regular expression cannot be read") from None


def plain_type(thing: Fields) -> str:
    """A trigger's or comparison's type in one spelling."""
    return str(thing.get("type", "")).replace("_", "").upper()


def _event_names(filters: Sequence[Fields], name: str, notes: list[str]) -> list[str]:
    if len(filters) != 1:
        raise Unclear(f'trigger "{name}" has no single event name')
    kind, given = plain_type(filters[0]), parameters(filters[0])
    wanted = str(given.get("arg1", ""))
    if str(given.get("negate", "false")).lower() == "true" or "{{" in wanted:
        raise Unclear(f'trigger "{name}" says which events it does not take')
    if kind == "EQUALS" and wanted:
        return [wanted]
    if kind == "MATCHREGEX":
        if wanted in (".*", ".+", "^.*$"):
            return [EVERY]
        if found := _ALTERNATIVES.fullmatch(wanted):
            return found[1].split("|")
    known = _known(kind, wanted)
    if not known:
        raise Unclear(f'trigger "{name}" takes the events that match {wanted}: name them one by one')
    notes.append(f'trigger "{name}" takes every event that matches {wanted}: of these only the usual ones were named')
    return known


def _known(kind: str, wanted: str) -> list[str]:
    """The usual names that a comparison takes."""
    if kind not in _SEARCHES or not wanted or len(wanted) > _LONGEST:
        return []
    try:
        pattern = re.compile(_SEARCHES[kind](wanted))
    except re.error:
        return []
    return sorted(name for name in CANONICAL_NAMES if pattern.search(name))


def _words(one: Fields) -> str:
    given = parameters(one)
    word = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", str(one.get("type", ""))).lower()
    return f"{given.get('arg0', '?')} {'not ' if given.get('negate') == 'true' else ''}{word} {given.get('arg1', '?')}"


def _objects(thing: Fields, key: str) -> list[Fields]:
    found = thing.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
