"""`tagway import gtm` on a container of many vendors: conditions, variables, tables, and the name of whom it cannot carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load
from gateway.destination import Batch
from gateway.explain import decisions
from gateway.move import vendors
from gateway.move.variables import Unclear, Variables
from gateway.plans import prepare
from tests import destination_kit as kit
from tests.cli_kit import tagway
from tests.gateway_kit import GRANTED
from tests.test_import_gtm import EXPORTS, GATEWAY, asks, container, event, moved, text, written

GOLD = {"value": 600, "currency": "EUR", "transaction_id": "o-1", "customer": {"plan": "gold"}}


def sent(folder: Path, name: str, destination: str = "meta", **event_: Any) -> list[str]:
    """What a destination of the moved container would send of an event: the vendor's names."""
    report = moved(folder, "wide")
    config = load(folder / "gateway.yaml", dict.fromkeys(report["variables"], "a-secret"))
    user = {"user": {"email": "jane@example.com"}, "ids": {"ga_client_id": "1.2"}, "consent": GRANTED}
    made = kit.event({"name": name, "source": "shop", **user, **event_})
    [decision] = [one for one in decisions(prepare(config), made, kit.NOW) if one.destination == destination]
    return [part.name for part in decision.parts]


@pytest.mark.parametrize(
    ("name", "given", "names"),
    [
        ("purchase", {"props": GOLD}, ["Purchase"]),
        ("purchase", {"props": {**GOLD, "value": 500}}, []),
        ("purchase", {"props": {**GOLD, "customer": {"plan": "tin"}}}, []),
        ("page_view", {"page": {"url": "https://shop.example/thanks?order=1"}}, ["Thanks"]),
        ("page_view", {"page": {"url": "https://shop.example/thanks"}}, ["Thanks"]),
        ("page_view", {"page": {"url": "https://shop.example/?next=/thanks"}}, []),
        ("page_view", {"page": {"url": "https://shop.example/no/thanks"}}, []),
        ("click", {"props": {"link_url": "https://other.example/"}}, ["Outbound"]),
        ("click", {"props": {"link_url": "https://shop.example/cup"}}, []),
        ("click", {"props": {"link_url": "https://shopxexample/"}}, ["Outbound"]),
        ("generate_lead", {"campaign": {"name": "MAIL-11"}}, ["Lead"]),
        ("generate_lead", {"campaign": {"name": "ads"}}, []),
        ("view_item_list", {"items": [{"id": "sku-1"}]}, ["Interest"]),
        ("begin_checkout", {}, []),
    ],
)
def test_an_event_is_sent_where_the_container_sent_it(
    tmp_path: Path, name: str, given: dict[str, Any], names: list[str]
) -> None:
    assert sent(tmp_path, name, **given) == names


def test_variables_and_tables_are_in_the_request(tmp_path: Path) -> None:
    moved(tmp_path, "wide")
    custom = written(tmp_path, "meta")["events"]["purchase"]["body"]["custom_data"]
    assert custom == {
        "plan": "$props.customer.plan | map:gtm_table_plan",
        "browser": "$ids.fbp",
        "campaign": "$campaign.name",
        "level": "$props.level // 'it\\'s new'",
    }
    assert written(tmp_path, "meta")["tables"] == {"gtm_table_plan": {"gold": "high", "tin": "low", "_": "none"}}
    params = written(tmp_path, "ga4")["events"]["purchase"]["body"]["params"]
    assert params == {"plan_level": "$props.customer.plan | map:gtm_table_plan", "level": "$props.level // 'it\\'s new'"}
    config = load(tmp_path / "gateway.yaml", {"GA4_API_SECRET": "s", "META_ACCESS_TOKEN": "s"})
    made = kit.event({"name": "purchase", "source": "shop", "consent": GRANTED, "props": GOLD, "user": {"id": "u-1"}})
    one = prepare(config)["meta"]
    parts = one.plan.parts(made, kit.NOW)
    assert isinstance(parts, list)
    request = one.destination.request(Batch(parts[0].envelope, (parts[0],)), kit.NOW)
    assert b'"plan":"high"' in request.body
    assert b"it's new" in request.body


@pytest.mark.parametrize(
    ("tag", "vendor"),
    [
        ("LinkedIn Insight", "LinkedIn"),
        ("LinkedIn conversion", "LinkedIn"),
        ("LinkedIn by hand", "LinkedIn"),
        ("Pinterest", "Pinterest"),
        ("Snapchat", "Snapchat"),
        ("Floodlight counter", "Floodlight"),
        ("Floodlight sales", "Floodlight"),
        ("Ads conversion", "Google Ads"),
        ("Ads remarketing", "Google Ads"),
        ("UET", "Microsoft Advertising"),
        ("Meta by hand", "Meta, a program of its own, is not read; there is the destination: tagway init --add meta"),
        ("Popup", "nothing of it was read"),
        ("Pixel image", "webhook"),
        ("Consent tool", "usercentrics"),
        ("Meta - group", "several triggers that must all have fired"),
        ("Meta - video", "a video"),
    ],
)
def test_what_is_left_is_named_with_its_vendor(tmp_path: Path, tag: str, vendor: str) -> None:
    [left] = [one for one in moved(tmp_path, "wide")["not_carried"] if one["tag"] == tag]
    assert vendor in left["why"]


@pytest.mark.parametrize(
    ("tag", "note"),
    [
        ("GA4 - purchase (large)", "version 1 of the data layer"),
        ("GA4 - purchase (large)", "changes the form of its value"),
        ("GA4 - purchase (large)", "a table of regular expressions"),
        ("Meta - ViewContent", "only the usual ones were named"),
        ("Meta - sign up", "css selector"),
    ],
)
def test_what_a_carried_tag_leaves_behind_is_named(tmp_path: Path, tag: str, note: str) -> None:
    [carried] = [one for one in moved(tmp_path, "wide")["carried"] if one["tag"] == tag]
    assert note in " ".join(carried["notes"])


def test_clients_and_transformations_and_zones_are_listed(tmp_path: Path) -> None:
    beside = {one["name"]: one for one in moved(tmp_path / "server", "server")["beside"]}
    assert set(beside) == {"GA4", "Data Client", "Measurement Protocol (GA4)", "No raw e-mail"}
    assert "ga4.md" in beside["GA4"]["why"]
    assert "data-tag.md" in beside["Data Client"]["why"]
    assert (beside["No raw e-mail"]["kind"], "user_data.email_address" in beside["No raw e-mail"]["why"]) == (
        "transformation",
        True,
    )
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    (tmp_path / "destinations").mkdir()
    shown = tagway("import", "gtm", str(EXPORTS / "wide.json"), "--dir", str(tmp_path))
    assert "  zone Partner (): it loads another container" in shown.stdout


@pytest.mark.parametrize(
    ("triggers", "when"),
    [
        ([event("1", "a")], ""),
        ([event("1", "a", filter=[asks("EQUALS", "{{Plan}}", "it's")])], "$props.plan == 'it\\'s'"),
        ([event("1", "a", filter=[asks("LESS_OR_EQUALS", "{{Value}}", "1.5")])], "$props.value <= 1.5"),
        (
            [
                event("1", "a", filter=[asks("EQUALS", "{{Plan}}", "x", "negate")]),
                event("2", "a", filter=[asks("GREATER", "{{Value}}", "1")]),
            ],
            "(not ($props.plan == 'x')) or ($props.value > 1)",
        ),
        ([event("1", "a", filter=[asks("EQUALS", "{{Plan}}", "x")]), event("2", "a")], ""),
        ([event("1", "a"), event("2", "a", filter=[asks("EQUALS", "{{Plan}}", "x")])], ""),
        (
            [event("1", "a", filter=[asks("ENDS_WITH", "{{Plan}}", "+x", "ignore_case")])],
            "($props.plan | matches:'(?i).*(?:(?:\\\\+x))')",
        ),
        ([event("1", "a", filter=[asks("EQUALS", "{{Page Hostname}}", "shop.example")])], None),
        ([event("1", "a", filter=[asks("MATCH_REGEX", "{{Plan}}", "(")])], ""),
        ([event("1", "a", filter=[asks("MATCH_REGEX", "{{Plan}}", "^a$|^b$")])], ""),
        ([event("1", "a", filter=[asks("EQUALS", "{{Code}}", "1")])], ""),
    ],
)
def test_a_condition_of_a_trigger(triggers: list[dict[str, Any]], when: str | None) -> None:
    variables = [
        {"name": "Plan", "type": "v", "parameter": [text("name", "plan")]},
        {"name": "Value", "type": "v", "parameter": [text("name", "ecommerce.value")]},
        {"name": "Code", "type": "jsm"},
    ]
    fired = container(trigger=triggers, variable=variables).fired({"firingTriggerId": ["1", "2"][: len(triggers)]})
    if when is None:
        assert fired.when["a"].startswith("($page.url | matches:'https?://")
    else:
        assert fired.when == {"a": when}


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("u", {}, "$page.url"),
        ("u", {"component": "QUERY", "queryKey": "GCLID"}, "$ids.gclid"),
        ("u", {"component": "QUERY", "queryKey": "utm_source"}, "$campaign.source"),
        ("u", {"component": "QUERY", "queryKey": "q"}, None),
        ("u", {"component": "PATH"}, None),
        ("u", {"customUrlSource": "{{X}}"}, None),
        ("f", {}, "$page.referrer"),
        ("f", {"component": "HOST"}, None),
        ("k", {"name": "_ga"}, "$ids.ga_client_id"),
        ("k", {"name": "session"}, None),
        ("e", {}, "$name"),
        ("v", {"name": "n", "setDefaultValue": "true", "defaultValue": "0"}, "$props.n // 0"),
        ("v", {"name": "n", "setDefaultValue": "true", "defaultValue": "{{Y}}"}, None),
        ("v", {"name": "a", "dataLayerVersion": "1"}, "$props.a"),
        ("v", {"name": "a.b", "dataLayerVersion": "1"}, None),
        ("remm", {}, None),
        ("aev", {}, None),
        ("rh", {"headerName": "x"}, None),
        ("new_kind", {}, None),
    ],
)
def test_a_variable(kind: str, given: dict[str, str], value: str | None) -> None:
    variables = Variables([{"name": "One", "type": kind, "parameter": [text(key, said) for key, said in given.items()]}])
    if value is None:
        with pytest.raises(Unclear):
            variables.value("{{One}}")
    else:
        assert variables.value("{{One}}") == value


@pytest.mark.parametrize(
    ("html", "name"),
    [
        ("<script src='https://s.pinimg.com/ct/core.js'>", "Pinterest"),
        ("snaptr('track')", "Snapchat"),
        ("window.uetq=window.uetq||[]", "Microsoft Advertising"),
        ("ttq.load('C4')", "TikTok"),
        ("gtag('config', 'AW-1')", "Google Ads"),
        ("gtag('config', 'G-ABC')", "Google Analytics 4"),
        ("<p>hello</p>", None),
    ],
)
def test_whose_script_a_piece_of_html_is(html: str, name: str | None) -> None:
    vendor = vendors.of_html(html)
    assert (vendor.name if vendor else None) == name
