"""The recipes do what they say: their blocks are taken out of the pages and used, with nothing changed but the address."""

from __future__ import annotations

import html
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from yarl import URL

from gateway.lab.server import Lab
from gateway.receive.replies import PIXEL
from tests.client_kit import CLIENTS, node_modules, run
from tests.docs_kit import ROOT, blocks
from tests.gateway_kit import Running, lab_files, running

pytestmark = pytest.mark.slow

RECIPES = ROOT / "docs" / "recipes"
ADDRESS = "https://t.shop.example"
ORIGIN = "https://shop.example"
HOST = {"Host": "t.shop.example"}
BROWSER = {
    **HOST,
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "*/*",
    "Accept-Language": "en-GB,en;q=0.8",
}
"""What a browser says of itself with every request."""
NOBODY_ASKS = "    consent:\n      unknown: jurisdiction\n      jurisdiction: none\n"
COOKIES = (
    "_fbp=fb.1.1697040000000.1234567890; _fbc=fb.1.1697040000000.IwAR0abc; _ga=GA1.1.1098115397.1795514300; "
    "_gcl_aw=GCL.1742916891.Cj0KabcdefGHIJ1234; _ttp=2abcdefghijklmnop; usprivacy=1YYN; _tw_consent=v1.gggg.1795514000.e"
)


def block(page: str, language: str, containing: str = "") -> str:
    """The only block of a page in this language with this text in it."""
    found = [one.text for one in blocks(RECIPES / f"{page}.md") if one.language == language and containing in one.text]
    assert len(found) == 1, (page, language, len(found))
    return found[0]


def sources(page: str, more: str = "", containing: str = "") -> str:
    """The source of the page, as gateway_kit takes it."""
    text = block(page, "yaml", containing)
    assert text.startswith("sources:\n")
    return text.removeprefix("sources:\n") + more


def image(page: str, element: str) -> str:
    """The address of the page's only image in this element."""
    found = re.search(rf'<{element} src="([^"]+)"', block(page, "html", f"<{element}"))
    assert found
    url = html.unescape(found[1])
    assert url.startswith(ADDRESS)
    return url.removeprefix(ADDRESS)


async def fetch(gateway: Running, target: str, **headers: str) -> None:
    """Load an image as it stands in a page."""
    url = URL(gateway.url + target.replace("[", "%5B").replace("]", "%5D"), encoded=True)
    async with gateway.client.get(url, headers={**BROWSER, **headers}) as answer:
        assert (answer.status, await answer.read()) == (200, PIXEL)


async def arrived(gateway: Running, lab: Lab) -> list[dict[str, Any]]:
    """The events that the webhook got."""
    await gateway.idle()
    assert all(entry.accepted for entry in lab.inbox("webhook"))
    return [entry.payload for entry in lab.inbox("webhook")]


@pytest.fixture(autouse=True)
def server_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_SERVER_KEY", "sk_recipes_7f3k2m9q4x8z")


@pytest.mark.parametrize("library", ["from segment import", "import rudderstack"])
async def test_segment_server_block_in_python(tmp_path: Path, lab: Lab, library: str) -> None:
    code = block("segment", "python", library)
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("segment", NOBODY_ASKS)) as gateway:
        await run(sys.executable, "-c", code.replace(ADDRESS, gateway.url))
        [event] = await arrived(gateway, lab)
        assert (event["name"], event["id"], event["props"]["value"]) == ("purchase", "o-1", 47.4)
        if "203.0.113.7" in code:
            assert event["device"]["ip"] == "203.0.113.7"
            assert event["consent"]["sources"] == [
                {
                    "name": "event",
                    "explicit": True,
                    "purposes": ["ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"],
                },
                *event["consent"]["sources"][1:],
            ]


async def test_segment_server_block_in_node(tmp_path: Path, lab: Lab) -> None:
    modules = await node_modules()
    code = block("segment", "js", "require(")
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("segment", NOBODY_ASKS)) as gateway:
        await run("node", "-e", code.replace(ADDRESS, gateway.url), NODE_PATH=str(modules))
        [event] = await arrived(gateway, lab)
        assert (event["name"], event["id"], event["props"]["value"]) == ("purchase", "o-1", 47.4)


CALL = {
    "type": "track",
    "event": "Quiz",
    "messageId": "ajs-1",
    "properties": {},
    "writeKey": "wk_shop_7f3k2m",
    "context": {"page": {"url": "https://shop.example/"}, "consent": {"categoryPreferences": {"C0002": True}}},
}


GTAG = "v=2&cid=1.2&sid=1795514300&dl=https%3A%2F%2Fshop.example%2Fthanks&gcs=G111"
BOUGHT = "en=purchase&ep.transaction_id=o-1&epn.value=47.4&cu=EUR"


async def measured(gateway: Running, *ids: str, host: str = "t.shop.example") -> None:
    """What gtag.js sends of a purchase: one hit per property of the page."""
    for measurement in ids:
        url = URL(f"{gateway.url}/g/collect?{GTAG}&tid={measurement}&{BOUGHT}", encoded=True)
        async with gateway.client.post(url, headers={**BROWSER, "Host": host, "Origin": ORIGIN}) as answer:
            assert answer.status == 204
    await gateway.idle()


def properties(lab: Lab) -> list[str]:
    """The properties that Google was sent a web hit for, one entry a hit."""
    assert all(entry.accepted for entry in lab.inbox("ga4"))
    assert {seen.path for seen in lab.requests("ga4")} <= {"/g/collect"}
    return sorted(entry.payload["tid"] for entry in lab.inbox("ga4"))


def ga4_file(lab: Lab, containing: str) -> str:
    """A destination of the page, live and against the lab."""
    text = block("ga4", "yaml", containing).replace("mode: dry_run", f"mode: live\nendpoint: {lab.url('ga4')}")
    return re.sub(r"\$\{GA4_(?:GROUP_)?API_SECRET\}", "S", text).replace("${GA4_MEASUREMENT_ID}", "G-AB12CD34EF")


async def test_gtags_hits_go_on_to_their_property_and_to_a_second_one(tmp_path: Path, lab: Lab) -> None:
    one, group = ga4_file(lab, "GA4_MEASUREMENT_ID"), ga4_file(lab, "# configs/destinations/ga4_group.yaml")
    source = sources("ga4", containing="hosts: [t.shop.example]")
    async with running(tmp_path / "one", {"ga4": one}, sources=source) as gateway:
        await measured(gateway, "G-AB12CD34EF", "G-CD56EF78GH")
        assert properties(lab) == ["G-AB12CD34EF"], "a hit of a property that the source does not list is refused"
    async with running(tmp_path / "two", {"ga4": one, "ga4_group": group}, sources=source) as gateway:
        await measured(gateway, "G-AB12CD34EF")
        assert properties(lab) == ["G-AB12CD34EF", "G-AB12CD34EF", "G-CD56EF78GH"]


async def test_two_properties_of_a_page_are_two_sources(tmp_path: Path, lab: Lab) -> None:
    page = yaml.safe_load(ga4_file(lab, "ga4_group:"))
    files = {name: yaml.safe_dump({**one, "endpoint": lab.url("ga4")}) for name, one in page["destinations"].items()}
    files |= {name: f"{text}sources: [shop]\n" for name, text in lab_files(lab, ["webhook"]).items()}
    source = "".join(
        f"  {name}:\n{textwrap.indent(yaml.safe_dump(one), '    ')}{NOBODY_ASKS}" for name, one in page["sources"].items()
    )
    async with running(tmp_path, files, sources=source) as gateway:
        await measured(gateway, "G-AB12CD34EF", "G-CD56EF78GH")
        assert properties(lab) == ["G-AB12CD34EF", "G-CD56EF78GH"]
        assert [event["name"] for event in await arrived(gateway, lab)] == ["purchase"], "others hear of it once"


async def test_rudderstacks_browser_block_is_what_runs_in_a_browser(tmp_path: Path, lab: Lab) -> None:
    code = block("segment", "js", "RudderAnalytics")
    runs = (CLIENTS / "browser" / "rudder.js").read_text()
    told = code.partition("analytics.load(")[2]
    wanted = told.replace(f"'{ADDRESS}'", "`http://${host}`").replace("'wk_shop_7f3k2m'", "key").rstrip()
    assert f"analytics.load({wanted};" in runs
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("segment")) as gateway:
        url = f"{gateway.url}/sourceConfig/?writeKey=wk_shop_7f3k2m"
        async with gateway.client.get(url, headers={**HOST, "Origin": ORIGIN}) as answer:
            assert (await answer.json())["source"]["destinations"] == []


class TestSegmentInABrowser:
    """The library's own requests, as captured; the block says with what address and key they are made."""

    CODE = block("segment", "js", "AnalyticsBrowser")

    async def test_the_settings_are_those_of_the_block(self, tmp_path: Path, lab: Lab) -> None:
        async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("segment")) as gateway:
            url = f"{gateway.url}/v1/projects/wk_shop_7f3k2m/settings"
            async with gateway.client.get(url, headers={**HOST, "Origin": ORIGIN}) as answer:
                settings = await answer.json()
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert settings["integrations"] == {"Segment.io": {"apiKey": "wk_shop_7f3k2m", "apiHost": "t.shop.example/v1"}}
        assert "writeKey: 'wk_shop_7f3k2m'" in self.CODE
        assert "apiHost: 't.shop.example/v1'" in self.CODE
        assert f"cdnURL: '{ADDRESS}'" in self.CODE
        assert "credentials: 'include'" in self.CODE

    async def test_the_browser_may_send_credentials(self, tmp_path: Path, lab: Lab) -> None:
        async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("segment")) as gateway:
            wanted = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", **HOST}
            wanted["Access-Control-Request-Headers"] = "authorization,content-type"
            async with gateway.client.options(f"{gateway.url}/v1/t", headers=wanted) as answer:
                assert answer.status == 204
                assert answer.headers["Access-Control-Allow-Credentials"] == "true"
                assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN

    async def test_without_credentials_the_table_is_missing(self, tmp_path: Path, lab: Lab) -> None:
        async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("segment")) as gateway:
            for n, cookies in enumerate((COOKIES, "")):
                headers = {
                    **BROWSER,
                    "Origin": ORIGIN,
                    "Content-Type": "text/plain",
                    **({"Cookie": cookies} if cookies else {}),
                }
                body = json.dumps({**CALL, "messageId": f"ajs-{n}"})
                async with gateway.client.post(f"{gateway.url}/v1/t", data=body, headers=headers) as answer:
                    assert await answer.json() == {"success": True}
            with_them, without = sorted(await arrived(gateway, lab), key=lambda event: str(event["id"]))
            assert set(with_them["ids"]) >= {"fbp", "fbc", "ga_client_id", "gclid", "ttp"}
            assert "ids" not in without
            assert with_them["consent"]["ad_storage"] == "granted"
            assert without["consent"]["ad_storage"] == "unknown"
            assert with_them["consent"]["sale_opt_out"] is True
            assert "sale_opt_out" not in without["consent"]
        page = (RECIPES / "segment.md").read_text()
        assert all(f"`{name}`" in page for name in ("_fbp", "_fbc", "_ga", "_ttp", "_gcl_aw", "_tw_consent", "usprivacy"))


async def test_snowplow_server_block(tmp_path: Path, lab: Lab) -> None:
    code = block("snowplow", "python")
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("snowplow", NOBODY_ASKS)) as gateway:
        await run(sys.executable, "-c", code.replace(ADDRESS, gateway.url))
        view, order = sorted(await arrived(gateway, lab), key=lambda event: str(event["name"]))
        assert (view["name"], view["page"]["url"]) == ("page_view", "https://shop.example/thanks")
        assert (order["name"], order["props"]["transaction_id"], order["props"]["value"]) == ("purchase", "o-1", 47.4)
        assert order["items"][0]["id"] == "sku-1"
        assert order["ids"]["snowplow_domain_userid"] == order["user"]["anonymous_id"] == "d-1"


async def test_snowplow_server_block_in_node(tmp_path: Path, lab: Lab) -> None:
    modules = await node_modules()
    code = block("snowplow", "js", "node-tracker")
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("snowplow", NOBODY_ASKS)) as gateway:
        address = f"endpoint: '127.0.0.1', port: {URL(gateway.url).port}, protocol: 'http'"
        await run("node", "-e", code.replace("endpoint: 't.shop.example', protocol: 'https'", address), NODE_PATH=str(modules))
        names = {event["name"]: event for event in await arrived(gateway, lab)}
        assert set(names) == {"page_view", "purchase"}
        assert names["purchase"]["props"] == {"transaction_id": "o-1", "value": 47.4, "currency": "EUR"}


async def test_snowplow_anonymous_tracker_is_denied(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab), sources=sources("snowplow", NOBODY_ASKS)) as gateway:
        body = {"data": [{"e": "pv", "p": "web", "eid": "e-1", "url": "https://shop.example/"}]}
        headers = {**BROWSER, "Origin": ORIGIN, "SP-Anonymous": "*", "Cookie": COOKIES}
        url = f"{gateway.url}/com.snowplowanalytics.snowplow/tp2"
        async with gateway.client.post(url, json=body, headers=headers) as answer:
            assert await answer.text() == "ok"
        await gateway.idle()
        for vendor in ("meta", "ga4", "tiktok", "webhook"):
            assert await gateway.outcomes(vendor) == {"skipped{consent}": 1}


async def test_data_tag_command(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab), sources=sources("data-tag")) as gateway:
        heard = await run("sh", "-c", block("data-tag", "sh").replace(ADDRESS, gateway.url))
        assert json.loads(heard)["unique_event_id"] == "o-1"
        [event] = await arrived(gateway, lab)
        assert (event["name"], event["props"]["value"], event["ids"]["ga_client_id"]) == ("purchase", 47.4, "123456.1795000000")
        for vendor in ("meta", "ga4", "tiktok"):
            assert await gateway.outcomes(vendor) == {"delivered": 1}


async def test_meta_pixel_image(tmp_path: Path, lab: Lab) -> None:
    target = image("meta-pixel", "img")
    async with running(tmp_path, lab_files(lab), sources=sources("meta-pixel", NOBODY_ASKS)) as gateway:
        await fetch(gateway, target)
        await fetch(gateway, target.replace("&eid=o-1", ""))
        await fetch(gateway, target.replace("id=1234567890&", "id=9876543210&").replace("&eid=o-1", ""))
        events = await arrived(gateway, lab)
        assert [event["name"] for event in events] == ["purchase"] * 3
        assert [item["id"] for item in events[0]["items"]] == ["sku-1", "sku-2"]
        assert await gateway.outcomes("meta") == {"delivered": 2, "skipped{loop}": 1}
        assert await gateway.outcomes("tiktok") == {"delivered": 3}
        assert lab.inbox("meta")[0].id == "o-1"


async def test_meta_pixel_limited_data_use(tmp_path: Path, lab: Lab) -> None:
    files = lab_files(lab, ["meta"])
    files["meta"] += "consent:\n  on_opt_out: limit\n"
    async with running(tmp_path, files, sources=sources("meta-pixel", NOBODY_ASKS)) as gateway:
        await fetch(gateway, image("meta-pixel", "img") + "&dpo=LDU&dpoco=1&dpost=1000")
        await gateway.idle()
        [sent] = [entry.payload for entry in lab.inbox("meta")]
        assert sent["data_processing_options"] == ["LDU"]
        assert (sent["data_processing_options_country"], sent["data_processing_options_state"]) == (1, 1000)


async def test_noscript_image(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("amp-noscript")) as gateway:
        target = image("amp-noscript", "img")
        await fetch(gateway, target, Referer="https://shop.example/cup", Cookie=COOKIES)
        await fetch(gateway, target, Referer="https://shop.example/cup")
        [event] = await arrived(gateway, lab)
        assert event["page"]["url"] == "https://shop.example/cup"
        assert await gateway.outcomes("webhook") == {"delivered": 1, "skipped{consent}": 1}


async def test_amp_image(tmp_path: Path, lab: Lab) -> None:
    target = image("amp-noscript", "amp-pixel")
    filled = target
    for name, value in {
        "PAGE_VIEW_ID_64": "pv-64",
        "CLIENT_ID(_tw_id)": "amp-abcdefghij",
        "CANONICAL_URL": "https%3A%2F%2Fshop.example%2Fcup",
        "DOCUMENT_REFERRER": "https%3A%2F%2Fsearch.example%2F",
        "RANDOM": "0.25",
    }.items():
        assert name in filled
        filled = filled.replace(name, value)
    cache = {"Referer": "https://shop-example.cdn.ampproject.org/"}
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("amp-noscript", NOBODY_ASKS)) as gateway:
        await fetch(gateway, filled, **cache)
        await fetch(gateway, target, **cache)
        first, second = await arrived(gateway, lab)
        assert (first["id"], first["user"]["anonymous_id"]) == ("pv-64", "amp-abcdefghij")
        assert first["page"] == {"url": "https://shop.example/cup", "referrer": "https://search.example/"}
        assert second["id"] != "PAGE_VIEW_ID_64"
        assert not {"page", "user"} & second.keys()


@pytest.mark.parametrize(
    ("origin", "events"),
    [("https://shop-example.cdn.ampproject.org", 1), ("https://other-example.cdn.ampproject.org", 0)],
    ids=["listed", "another site's"],
)
async def test_amp_cache_is_an_origin_like_any_other(tmp_path: Path, lab: Lab, origin: str, events: int) -> None:
    async with running(tmp_path, lab_files(lab, ["webhook"]), sources=sources("amp-noscript", NOBODY_ASKS)) as gateway:
        url = f"{gateway.url}/p.gif?e=page_view&k=wk_shop_7f3k2m&eid=e-1"
        async with gateway.client.get(url, headers={**BROWSER, "Origin": origin}) as answer:
            assert answer.status == 200
            assert answer.headers.get("Access-Control-Allow-Origin") == (origin if events else None)
        assert len(await arrived(gateway, lab)) == events
