"""GTM tags as destinations: one draft per vendor and account, with the events that the container sent there.

What a tag's type or template says decides the vendor; a table per vendor says which of its fields hold the account, which the
secrets (which are never copied), where an event's name stands, and which tables of fields become fields of the request. A field
that nobody here knows is named as left behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.event import PURPOSES
from gateway.manifest import Manifest, discover, load_manifest
from gateway.move import vendors
from gateway.move.gtm import Container
from gateway.move.triggers import EVERY, Fired
from gateway.move.variables import Fields, Unclear, parameters

_SETS = "eventSettingsTable"
"""The table that a variable of event settings stands in for."""
_GA4_ID = re.compile(r"G-[A-Z0-9]+", re.ASCII)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How tags of one vendor are read.

    `account` are parameters that hold the account, first filled one; `setting` is ours for it. `names` give an event's
    vendor name in turn, each as (parameter, only where, is). `tables` are lists of name and value, with the place of the
    request that they belong to. `secrets` and `known` need no word: they are asked for anew, or done here without them.
    """

    vendor: str
    setting: str
    account: tuple[str, ...]
    names: tuple[tuple[str, str, str], ...] = ()
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    role: str = ""


_COMMON = "logType consentMode adStorageConsent useOptimisticScenario serverEventDataList userDataList enableEventEnhancement"
META_WEB = Rule(
    vendor="meta",
    setting="pixel_id",
    account=("pixelId",),
    names=(
        ("standardEventName", "eventName", "standard"),
        ("customEventName", "eventName", "custom"),
        ("variableEventName", "eventName", "variable"),
    ),
    tables={"objectPropertyList": ("custom_data",)},
    known=frozenset(
        "eventName advancedMatching advancedMatchingList consent enhancedEcommerce eventId disableAutoConfig disablePushState "
        "dpoLDU dpoCountry dpoState objectPropertiesFromVariable".split()
    ),
)
META_SERVER = Rule(
    vendor="meta",
    setting="pixel_id",
    account=("pixelId",),
    names=(
        ("", "inheritEventName", "inherit"),
        ("eventNameStandard", "eventName", "standard"),
        ("eventNameCustom", "eventName", "custom"),
    ),
    tables={"customDataList": ("custom_data",)},
    secrets=frozenset({"accessToken", "testId"}),
    known=frozenset(f"{_COMMON} inheritEventName eventName actionSource generateFbp useHttpOnlyCookie".split()),
)
TIKTOK_WEB = Rule(
    vendor="tiktok",
    setting="pixel_id",
    account=("pixelCode", "pixelId", "pixel_code"),
    names=(
        ("standardEventName", "eventType", "standard"),
        ("customEventName", "eventType", "custom"),
        ("event", "", ""),
        ("eventName", "", ""),
    ),
    tables={"objectPropertyList": ("properties",)},
    known=frozenset("eventType eventId advancedMatching email phone".split()),
)
TIKTOK_SERVER = Rule(
    vendor="tiktok",
    setting="pixel_id",
    account=("pixelId",),
    names=(("", "eventType", "inherit"), ("eventNameCustom", "eventType", "custom"), ("eventName", "", "")),
    tables={"customDataList": ("properties",)},
    secrets=frozenset({"accessToken", "testEventCode"}),
    known=frozenset(f"{_COMMON} eventType".split()),
)
_GA4_KNOWN = frozenset(
    "measurementId measurementIdOverride tagId sendEcommerceData getEcommerceDataFrom ecommerceMacroData sendPageView "
    "eventSettingsVariable configSettingsVariable epToIncludeDropdown upToIncludeDropdown isMeasurementIdMandatory "
    "enhancedUserId enableSendToServerContainer gaSettings".split()
)
GA4_WEB = Rule(
    vendor="ga4",
    setting="measurement_id",
    account=("measurementIdOverride", "measurementId", "tagId"),
    names=(("eventName", "", ""),),
    tables={"eventParameters": ("params",), "eventSettingsTable": ("params",)},
    known=_GA4_KNOWN,
    role="augment",
)
GA4_SERVER = Rule(
    vendor="ga4",
    setting="measurement_id",
    account=("measurementId",),
    names=(("eventName", "", ""),),
    tables={"epToAdd": ("params",)},
    known=_GA4_KNOWN,
    role="replace",
)
_BY_TYPE = {"gaawc": GA4_WEB, "gaawe": GA4_WEB, "googtag": GA4_WEB, "sgtmgaaw": GA4_SERVER}
_OTHERS = {
    "img": "a custom image: send its address with a `webhook` destination, if you still need it",
    "gclidw": "the conversion linker is not needed: click ids are read from the page's address",
    "sgtmadscl": "the conversion linker is not needed: click ids are read from the page's address",
    "ua": "Universal Analytics was switched off in 2024",
    **dict.fromkeys(
        ("cl", "lcl", "fsl", "hl", "sdl", "evl", "tl", "jel", "ytl"), "an old listener; the browser tag listens by itself"
    ),
    "sgtmhttp": "an HTTP request: send the event with a `webhook` destination (docs/destinations.md)",
    "zone": "a zone loads another container; export and import that one too",
}


@dataclass(slots=True)
class Draft:
    """A destination to be written."""

    manifest: Manifest
    setting: str
    account: str
    role: str
    tags: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    when: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    requires: list[str] = field(default_factory=list)
    every: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a container: the drafts by (vendor, account), and a line for each tag."""

    drafts: dict[tuple[str, str], Draft] = field(default_factory=dict)
    carried: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)


def read_tags(container: Container) -> Outcome:
    """Every tag, carried or left with a reason."""
    outcome = Outcome()
    for tag in container.tags:
        try:
            _read(container, tag, outcome)
        except Unclear as error:
            outcome.left.append({**_named(tag), "why": str(error)})
    return outcome


def _named(tag: Fields) -> dict[str, Any]:
    return {"tag": str(tag.get("name", "")), "type": str(tag.get("type", ""))}


def _read(container: Container, tag: Fields, outcome: Outcome) -> None:
    if tag.get("paused"):
        raise Unclear("it is paused")
    rule, given = _rule(container, tag), parameters(tag)
    if rule.vendor not in discover():
        raise Unclear(f"this version has no destination {rule.vendor}")
    account = _account(container, rule, given)
    fired = container.fired(tag)
    if not fired.names:
        raise Unclear("; ".join(fired.notes) or "nothing fires it")
    draft = outcome.drafts.get((rule.vendor, account))
    if draft is None:
        draft = Draft(load_manifest(rule.vendor), rule.setting, account, rule.role)
        outcome.drafts[(rule.vendor, account)] = draft
    notes = [*fired.notes, *_unknown(rule, given)]
    body = _body(container, rule, given, notes)
    events = _events(container, tag, rule, given, fired.names, notes)
    for event, name in events.items():
        _add(draft, event, name, body, _when(event, fired), notes)
    draft.tables.update(_tables(container, draft))
    draft.tags.append(str(tag.get("name", "")))
    draft.requires = list(dict.fromkeys([*draft.requires, *_consent(tag)]))
    carried = {**_named(tag), "destination": rule.vendor, "account": account, "events": sorted(events), "notes": notes}
    outcome.carried.append(carried)


def _rule(container: Container, tag: Fields) -> Rule:
    kind = str(tag.get("type", ""))
    if kind in _OTHERS:
        raise Unclear(_OTHERS[kind])
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if kind == "html":
        raise Unclear(_custom_html(str(parameters(tag).get("html", ""))))
    if kind in vendors.BY_TYPE:
        raise Unclear(_elsewhere(vendors.BY_TYPE[kind]))
    if not kind.startswith("cvt_"):
        raise Unclear(f"tags of type {kind} are not read")
    words = container.template(kind)
    if not words:
        raise Unclear("its custom template is not in the export")
    if re.search(r"data[ -]tag", words):
        raise Unclear("Stape's Data Tag needs no destination: give it this gateway's address (docs/recipes/data-tag.md)")
    vendor = vendors.of_words(words)
    if vendor is vendors.META:
        return META_SERVER if container.server else META_WEB
    if vendor is vendors.TIKTOK:
        return TIKTOK_SERVER if container.server else TIKTOK_WEB
    raise Unclear(_elsewhere(vendor) if vendor else f'the template "{words}" is not known here')


def _custom_html(html: str) -> str:
    vendor = vendors.of_html(html)
    if vendor is None:
        return "custom HTML is a program of its own; nothing of it was read"
    return f"custom HTML of {vendor.name}, a program of its own, is not read; {_instead(vendor)}"


def _elsewhere(vendor: vendors.Vendor) -> str:
    return f"a tag of {vendor.name} is not read; {_instead(vendor)}"


def _instead(vendor: vendors.Vendor) -> str:
    if vendor.destination in discover():
        return f"there is the destination: tagway init --add {vendor.destination}"
    return f"this version has no destination {vendor.destination}"


def _account(container: Container, rule: Rule, given: Mapping[str, Any]) -> str:
    for key in rule.account:
        text = given.get(key)
        if not isinstance(text, str) or not text.strip():
            continue
        account = container.constant(text).strip()
        if rule.vendor == "ga4" and not _GA4_ID.fullmatch(account):
            raise Unclear(
                f"{account} is no GA4 measurement id" + ("" if not account.startswith("AW-") else ": it is Google Ads'")
            )
        return account
    if rule.vendor == "ga4" and rule.role == "replace":
        return ""
    raise Unclear(f"it names no {rule.setting}")


def _events(
    container: Container, tag: Fields, rule: Rule, given: Mapping[str, Any], fired: Iterable[str], notes: list[str]
) -> dict[str, str]:
    """Our event → the vendor's name for it, empty for the usual one."""
    if str(tag.get("type")) in ("gaawc", "googtag"):
        if given.get("sendPageView") == "false":
            raise Unclear("it only loads the library: it sends no page view")
        return {"page_view": ""}
    named = _vendor_name(container, rule, given, notes)
    if rule.vendor == "ga4" and named and rule.role == "augment":
        return {named: ""}
    return dict.fromkeys(fired, named)


def _vendor_name(container: Container, rule: Rule, given: Mapping[str, Any], notes: list[str]) -> str:
    for key, only, where in rule.names:
        if only and str(given.get(only, "")) != where:
            continue
        if not key:
            return ""
        text = str(given.get(key, "")).strip()
        if text:
            name = container.value(text)
            if name == "$name":
                return ""
            if "$" in name:
                notes.append(f"the event's name {text} is not the same for every event: our own name is sent")
                return ""
            return name
    return ""


def _body(container: Container, rule: Rule, given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The fields of a tag's tables, where they belong in the request's event."""
    body: dict[str, Any] = {}
    for key, place in rule.tables.items():
        for row in [
            *(container.variables.rows(str(given.get("eventSettingsVariable", ""))) if key == _SETS else ()),
            *(given.get(key) or ()),
        ]:
            if not isinstance(row, dict):
                continue
            name, text = row.get("name") or row.get("parameter") or "", row.get("value") or row.get("parameterValue") or ""
            try:
                value = container.value(str(text))
            except Unclear as error:
                notes.append(f"{name}: {error}")
                continue
            if not _FIELD.fullmatch(str(name)):
                notes.append(f"{name}: no name of a field here")
            elif value != f"$props.{name}" or rule.vendor != "ga4":
                inner = body
                for step in place:
                    inner = inner.setdefault(step, {})
                inner[str(name)] = value
    return body


def _unknown(rule: Rule, given: Mapping[str, Any]) -> list[str]:
    """Parameters that say something, and nothing that is done here."""
    done = {*rule.account, *rule.tables, *rule.secrets, *rule.known, *(key for key, _, _ in rule.names)}
    said = [key for key, value in given.items() if key not in done and value not in ("", "false", [], {})]
    return [f"its setting {key} is not carried" for key in said]


def _when(event: str, fired: Fired) -> str:
    """The condition of an event: its trigger's, or, where the tag names the event itself, that of all its triggers."""
    if event in fired.when:
        return fired.when[event]
    conditions = list(dict.fromkeys(fired.when.values()))
    if "" in conditions:
        return ""
    return conditions[0] if len(conditions) == 1 else " or ".join(f"({one})" for one in conditions)


def _tables(container: Container, draft: Draft) -> dict[str, dict[str, str]]:
    """The look-up tables that a draft's values name."""
    said = f"{draft.bodies}{draft.when}"
    return {name: table for name, table in container.variables.tables.items() if f"map:{name}" in said}


def _add(draft: Draft, event: str, name: str, body: Mapping[str, Any], when: str, notes: list[str]) -> None:
    if event == EVERY:
        draft.every = True
        if name or body:
            notes.append("what it adds to every event is not carried: write it under `defaults`")
        return
    if event in draft.names and draft.names[event] != name:
        notes.append(
            f"{event} goes to this destination once, as {draft.names[event] or 'usual'}; {name or 'the usual name'} does not"
        )
        return
    before = draft.when.get(event, when) if event in draft.names else when
    draft.names[event] = name
    draft.when[event] = when if when == before else "" if not (when and before) else f"({before}) or ({when})"
    for section, fields in body.items():
        draft.bodies.setdefault(event, {}).setdefault(section, {}).update(fields)


def _consent(tag: Fields) -> list[str]:
    settings = tag.get("consentSettings")
    asked = settings.get("consentType") if isinstance(settings, dict) else None
    listed = asked.get("list") if isinstance(asked, dict) else None
    words = [str(one.get("value")) for one in listed or () if isinstance(one, dict)]
    names = {"functionality_storage": "functional", "personalization_storage": "functional"}
    return [names.get(word, word) for word in words if names.get(word, word) in PURPOSES]
