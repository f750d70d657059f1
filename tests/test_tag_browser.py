"""The browser tag in Chromium, on a shop of a few pages beside a real gateway and the vendors' emulators."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request

from gateway.lab.server import Lab
from tests.browser_kit import AGENT, BrowserThread, Site, arrived, browser_thread, gateway_of, shop_and_gateway, site
from tests.docs_kit import ROOT, blocks
from tests.gateway_kit import DENIED, GRANTED, lab_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
COOKIES = {
    "_ga": "GA1.1.1098115397.1795514300",
    "_ga_ABC1234567": "GS2.1.s1795514300$o3$g0$t1795514300$j60$l0$h0",
    "_fbp": "fb.1.1795514300000.1234567890",
}
MAIL = hashlib.sha256(b"jane@example.com").hexdigest()
ITEM = "{id: 'cup', name: 'Cup', price: 14.5, quantity: 2}"
ORDER = f"{{transaction_id: 'o-1', value: 29, currency: 'EUR', items: [{ITEM}]}}"
ANSWERED = """<script>
  window.tagway = function () { (tagway.q = tagway.q || []).push(arguments) };
  tagway('consent', 'granted');
</script>"""
"""The recipe's stub, so that what is said before the tag is there waits for it."""
ALL_GRANTED, ALL_DENIED = GRANTED, DENIED
CONFIRMED = "'_tw' in localStorage && Object.keys(localStorage).every((key) => !key.startsWith('_tw:'))"
"""The gateway has confirmed every event, where the visitor allows them to be kept until then."""
TALL = "<div style='height: 4000px'>much to read</div>"
TC_MEASUREMENT = "CQuMEMAQuMEMAEsAEBENB4FgAIPAAAAAAAYgF5wAQF5gAAAA.IIzQEIAAgAEAAoABoAFQAOAAqABkADQAJgAWwA_ACOAXmAxkBkgEZgAA"
"""The visitor allows storage, measurement and statistics, to Google too, but no personal advertising."""


@pytest.fixture(scope="module")
def chrome() -> Iterator[BrowserThread]:
    with browser_thread() as thread:
        yield thread


def page_of(one: Site, attributes: str = "", *, head: str = "", body: str = "", src: str = "") -> str:
    """A page of the shop with the tag in its head, as the recipe has it."""
    tag = f'<script src="{src or one.tag_host + "/tag.js?k=wk_shop"}" {attributes}></script>'
    return f"<!doctype html><title>Shop</title>{head}{tag}<body>{body}</body>"


def shop(one: Site, attributes: str = "", **parts: str) -> None:
    """The same page under five addresses."""
    for path in ("/", "/product", "/cart", "/checkout", "/thanks"):
        one.pages[path] = page_of(one, attributes, **parts)


def visit(
    browser: Browser,
    one: Site,
    play: Callable[[Page], Any],
    *,
    before: str = "",
    cookies: bool = True,
    until: Callable[[], bool] = lambda: True,
) -> Any:
    """Somebody on the site; the page must hear of no error and ask nobody else for anything.

    The browser stays open until its hits were answered and, for those that leave with their page, until `until`.
    """
    context = browser.new_context(user_agent=AGENT)
    if cookies:
        context.add_cookies([{"name": n, "value": v, "domain": ".shop.example", "path": "/"} for n, v in COOKIES.items()])
    if before:
        context.add_init_script(before)
    page = context.new_page()
    faults: list[str] = []
    elsewhere: list[str] = []
    open_: set[Request] = set()
    ours = (one.url, one.tag_host, one.foreign_host, "data:")
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(ours) else elsewhere.append(request.url))
    page.on("request", lambda request: open_.add(request) if request.method == "POST" else None)
    page.on("framenavigated", lambda _frame: open_.clear())
    page.on("response", lambda response: open_.discard(response.request))
    page.on("requestfailed", lambda request: open_.discard(request))
    try:
        page.goto(one.url)
        result = play(page)
        page.wait_for_timeout(100)
        for _ in range(150):
            if until() and not open_:
                break
            page.wait_for_timeout(100)
        return result
    finally:
        context.close()
        assert faults == []
        assert elsewhere == []


def stored(page: Page) -> dict[str, str]:
    """All that the site's storage holds."""
    return dict(page.evaluate("({...localStorage, ...sessionStorage})"))


def names(lab: Lab) -> list[str]:
    """What the webhook got, but for the time spent, which comes when it likes."""
    return [event["name"] for event in arrived(lab) if event["name"] != "user_engagement"]


def one_of(lab: Lab, name: str) -> dict[str, Any]:
    """The only event of a name."""
    [event] = [event for event in arrived(lab) if event["name"] == name]
    return event


async def idle(one: Site) -> None:
    assert one.gateway
    await one.gateway.idle()


async def outcomes(one: Site, lane: str = "webhook") -> dict[str, int]:
    assert one.gateway
    return dict(await one.gateway.outcomes(lane))


async def test_a_visit_from_the_first_view_to_the_purchase_reaches_every_vendor(
    chrome: BrowserThread, tmp_path: Path, lab: Lab
) -> None:
    def play(page: Page) -> str:
        base = page.url.rstrip("/")
        page.evaluate("tagway('consent', 'granted')")
        for path, name in (("/product", "view_item"), ("/cart", "add_to_cart"), ("/checkout", "begin_checkout")):
            page.goto(base + path)
            page.evaluate("tagway('consent', 'granted')")
            page.evaluate(f"tagway('event', '{name}', {{value: 29, currency: 'EUR', items: [{ITEM}]}})")
        page.goto(base + "/thanks?fbclid=IwAR0abcdef")
        page.evaluate("tagway('consent', 'granted')")
        page.evaluate("tagway('identify', {id: 'u-1', email: 'jane@example.com'})")
        made = page.evaluate(f"tagway('event', 'purchase', {ORDER})")
        assert page.evaluate("tagway.lastId") == made
        return str(made)

    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one)
        steps = ["view_item", "add_to_cart", "begin_checkout", "purchase"]
        made = await chrome(visit, one, play, until=lambda: set(steps) <= set(names(lab)))
        await idle(one)
        assert UUID7.fullmatch(made)
        [meta] = [entry for entry in lab.inbox("meta") if entry.name == "Purchase"]
        assert (meta.accepted, meta.id) == (True, made)
        assert meta.payload["custom_data"]["value"] == 29
        assert meta.payload["user_data"]["fbp"] == COOKIES["_fbp"]
        assert meta.payload["user_data"]["fbc"].endswith(".IwAR0abcdef")
        assert [entry.id for entry in lab.inbox("tiktok") if entry.name == "Purchase"] == [made]
        [ga4] = [entry for entry in lab.inbox("ga4") if entry.name == "purchase"]
        assert ga4.payload["params"]["transaction_id"] == "o-1"
        assert all(entry.accepted for vendor in ("meta", "ga4", "tiktok") for entry in lab.inbox(vendor))
        shopping = [name for name in names(lab) if name not in ("page_view", "identify")]
        assert shopping == steps
        event = one_of(lab, "purchase")
        assert event["ids"]["ga_client_id"] == "1098115397.1795514300"
        assert event["user"]["id"] == "u-1"
        assert meta.payload["user_data"]["em"] == [MAIL]
        assert event["items"] == [{"id": "cup", "name": "Cup", "price": 14.5, "quantity": 2}]
        assert event["page"]["title"] == "Shop"
        assert event["device"]["viewport_width"] == 1280
        assert event["consent"]["explicit"] is True


async def test_what_is_said_while_the_page_goes_arrives(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    def play(page: Page) -> None:
        page.wait_for_timeout(1200)  # seen for over a second, or it is not called engaged
        page.click("a")
        page.wait_for_url("**/cart")

    async with shop_and_gateway(tmp_path, lab) as one:
        leave = f"<a href='/cart' onclick=\"tagway('event', 'add_to_cart', {{items: [{ITEM}]}})\">Add</a>"
        unload = "<script>addEventListener('pagehide', () => tagway('event', 'left'))</script>"
        shop(one, head=ANSWERED, body=leave + unload)
        await chrome(visit, one, play, until=lambda: "left" in names(lab))
        await idle(one)
        assert names(lab).count("add_to_cart") == 1
        first = f"{one.url}/"
        assert [event["name"] for event in arrived(lab) if event["page"]["url"] == first].count("left") == 1
        spent = [event["engagement_ms"] for event in arrived(lab) if event["page"]["url"] == first and "engagement_ms" in event]
        assert 1200 <= sum(spent) <= 5000


async def test_a_single_page_application_shows_pages(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    def play(page: Page) -> None:
        page.evaluate("history.pushState({}, '', '/product'); document.title = 'Product'")
        page.wait_for_timeout(50)
        page.evaluate("history.replaceState({scrolled: 1}, '', '/product')")
        page.evaluate("location.hash = 'reviews'")
        page.evaluate("history.pushState({}, '', '/cart?step=1')")
        page.wait_for_timeout(50)
        page.evaluate("history.back()")
        page.wait_for_timeout(150)
        page.evaluate("location.hash = '#/orders'")
        page.wait_for_timeout(50)

    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, head=ANSWERED)
        await chrome(visit, one, play)
        await idle(one)
        views = [event["page"] for event in arrived(lab) if event["name"] == "page_view"]
        paths = [view["url"].removeprefix(one.url) for view in views]
        assert paths == ["/", "/product", "/cart?step=1", "/product#reviews", "/product#/orders"]
        assert [view["title"] for view in views[:2]] == ["Shop", "Product"]
        assert views[1]["referrer"].rstrip("/") == one.url
        assert views[2]["referrer"] == f"{one.url}/product"


class TestConsent:
    async def test_denied_sends_nothing_on_and_keeps_nothing(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        def play(page: Page) -> None:
            page.evaluate("tagway('consent', 'denied')")
            page.evaluate("tagway('identify', {email: 'jane@example.com'})")
            sent = page.expect_request("**/v1/events*")
            with sent as request:
                page.evaluate(f"tagway('event', 'purchase', {ORDER})")
            body = request.value.post_data or ""
            assert "jane@example.com" not in body
            assert "1098115397" not in body
            page.wait_for_timeout(300)
            assert stored(page) == {}
            assert {cookie["name"] for cookie in page.context.cookies()} <= set(COOKIES)

        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one)
            await chrome(visit, one, play)
            await idle(one)
            for vendor in ("meta", "ga4", "tiktok", "webhook"):
                assert lab.inbox(vendor) == []
                assert set(await outcomes(one, vendor)) == {"skipped{consent}"}

    async def test_with_hold_nothing_leaves_the_browser_until_there_is_an_answer(
        self, chrome: BrowserThread, tmp_path: Path, lab: Lab
    ) -> None:
        def play(page: Page) -> None:
            sent: list[str] = []
            page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
            page.goto(page.url + "?gclid=Cj0KCQjwabcdefghij")
            page.evaluate("tagway('consent', 'default', {ad_storage: 'denied', analytics_storage: 'denied'})")
            page.evaluate(f"tagway('event', 'add_to_cart', {{items: [{ITEM}]}})")
            page.wait_for_timeout(600)
            assert sent == []
            assert stored(page) == {}
            page.evaluate(
                "tagway('consent', 'update', {ad_storage: 'granted', analytics_storage: true, ad_user_data: 'granted'})"
            )

        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, "data-hold")
            await chrome(visit, one, play)
            await idle(one)
            assert names(lab) == ["page_view", "add_to_cart"]
            for event in arrived(lab):
                assert event["consent"]["analytics_storage"] == "granted"
                assert event["consent"]["ad_personalization"] == "unknown"
                assert event["ids"]["gclid"] == "Cj0KCQjwabcdefghij"

    async def test_a_denial_lets_go_of_what_was_held_and_it_is_counted(
        self, chrome: BrowserThread, tmp_path: Path, lab: Lab
    ) -> None:
        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, "data-hold")
            await chrome(visit, one, lambda page: page.evaluate("tagway('consent', 'denied')"))
            await idle(one)
            assert await outcomes(one) == {"skipped{consent}": 1}

    async def test_withdrawn_on_a_later_page_it_holds_at_once_and_everything_kept_goes(
        self, chrome: BrowserThread, tmp_path: Path, lab: Lab
    ) -> None:
        def play(page: Page) -> None:
            base = page.url.rstrip("/")
            page.goto(base + "/product?gclid=Cj0KCQjwabcdefghij")
            page.evaluate("tagway('consent', 'granted')")
            page.wait_for_function("Object.keys(localStorage).sort().join() === '_tw,_tw_click'")
            page.goto(base + "/cart")
            with page.expect_request("**/v1/consent*") as told:
                page.evaluate("tagway('consent', 'denied')")
            said = told.value.post_data_json
            assert said["consent"]["analytics_storage"] == "denied"
            assert said["ids"]["ga_client_id"] == "1098115397.1795514300"
            page.evaluate("tagway('event', 'search', {search_term: 'cup'})")
            page.wait_for_function("localStorage.length === 0")
            # The answer is another one again: the gateway must hear that before the next event
            page.evaluate("tagway('consent', 'granted'); tagway('event', 'login', {method: 'mail'})")
            page.wait_for_function(CONFIRMED)
            page.goto(base + "/checkout")
            with page.expect_request("**/v1/events*"):
                page.evaluate("tagway('consent', 'granted'); tagway('event', 'sign_up')")

        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one)
            await chrome(visit, one, play)
            await idle(one)
            assert "search" not in names(lab)
            assert [name for name in names(lab) if name != "page_view"] == ["login", "sign_up"]

    async def test_defaults_of_every_page_are_no_withdrawal(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        """Pages set `denied` ahead and update from the tool's own cookie a moment later."""

        def play(page: Page) -> None:
            told: list[str] = []
            page.on("request", lambda request: told.append(request.url) if "/v1/consent" in request.url else None)
            page.reload()
            page.wait_for_function("Object.keys(localStorage).join() === '_tw'")
            assert told == []

        gtag = "<script>window.dataLayer = []; function gtag() { dataLayer.push(arguments) }"
        both = f"{gtag}; gtag('consent', 'default', {ALL_DENIED}); gtag('consent', 'update', {ALL_GRANTED})</script>"
        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, head=both)
            await chrome(visit, one, play, until=lambda: names(lab).count("page_view") == 2)
            await idle(one)
            assert names(lab) == ["page_view", "page_view"]

    @pytest.mark.parametrize(
        ("tool", "delivered"),
        [
            ("{eventStatus: 'tcloaded', tcString: TC, purpose: {consents: {1: true, 7: true, 8: true, 9: true}}}", True),
            ("{eventStatus: 'cmpuishown', tcString: TC, purpose: {consents: {}}}", False),
        ],
        ids=["answered", "still asking"],
    )
    async def test_a_tool_that_speaks_tcf_is_heard(
        self, chrome: BrowserThread, tmp_path: Path, lab: Lab, tool: str, delivered: bool
    ) -> None:
        stub = f"window.__tcfapi = (command, version, callback) => {{ const TC = '{TC_MEASUREMENT}'; callback({tool}, true) }}"
        async with shop_and_gateway(tmp_path, lab, webhook="consent:\n  purposes_only: true\n") as one:
            shop(one, "data-hold")
            await chrome(visit, one, lambda page: page.evaluate("tagway('event', 'login')"), before=stub)
            await idle(one)
            assert names(lab) == (["page_view", "login"] if delivered else [])
            for event in arrived(lab):
                assert event["consent"]["analytics_storage"] == "granted"
                assert event["consent"]["ad_personalization"] == "denied"
                assert [source["name"] for source in event["consent"]["sources"]] == ["TC string"]

    async def test_a_tool_that_speaks_gpp_is_heard(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        ping = "{signalStatus: 'ready', gppString: 'DBABLA~CVQVAAAAAACA.YA', applicableSections: [7]}"
        stub = f"window.__gpp = (command, callback) => callback({{eventName: 'signalStatus', pingData: {ping}}}, true)"
        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, "data-hold", head=ANSWERED)
            await chrome(visit, one, lambda page: None, before=stub)
            await idle(one)
            [event] = arrived(lab)
            assert event["consent"]["sale_opt_out"] is True
            assert await outcomes(one, "meta") == {"skipped{consent}": 1}

    async def test_global_privacy_control_is_an_opt_out_of_sale(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        control = "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})"
        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, head=ANSWERED)
            await chrome(visit, one, lambda page: None, before=control)
            await idle(one)
            [event] = arrived(lab)
            assert event["consent"]["sale_opt_out"] is True
            assert await outcomes(one, "meta") == {"skipped{consent}": 1}


async def test_where_third_party_cookies_are_blocked_the_ids_come_from_the_page(
    chrome: BrowserThread, tmp_path: Path, lab: Lab
) -> None:
    def play(page: Page) -> None:
        cookie = {"name": "_ga", "value": "GA1.1.1.2", "domain": "localhost", "path": "/"}
        page.context.add_cookies([{**cookie, "sameSite": "None", "secure": True}])
        with page.expect_request("**/v1/events*") as sent:
            page.evaluate("tagway('event', 'login')")
        assert "cookie" not in sent.value.all_headers(), "this browser lets third-party cookies pass"
        visited = page.goto(one.foreign_host + "/robots.txt")
        assert visited
        assert visited.request.all_headers()["cookie"] == "_ga=GA1.1.1.2", "it has one to send"

    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, head=ANSWERED, src=f"{one.foreign_host}/tag.js?k=wk_shop")
        await chrome(visit, one, play)
        await idle(one)
        event = one_of(lab, "login")
        assert event["ids"]["ga_client_id"] == "1098115397.1795514300"
        assert event["ids"]["ga_session_id"] == "1795514300"
        assert event["ids"]["fbp"] == COOKIES["_fbp"]


class TestWhileTheGatewayIsDown:
    async def test_the_next_page_sends_it_with_the_same_id_and_nobody_counts_it_twice(
        self, chrome: BrowserThread, tmp_path: Path, lab: Lab
    ) -> None:
        kept: dict[str, Any] = {}

        def before(browser: Browser) -> None:
            kept["context"] = browser.new_context(user_agent=AGENT)
            page = kept["page"] = kept["context"].new_page()
            page.goto(one.url)
            page.wait_for_function(CONFIRMED)

        def during(_browser: Browser) -> str:
            made = kept["page"].evaluate(f"tagway('event', 'purchase', {ORDER})")
            kept["page"].wait_for_timeout(300)
            assert f"_tw:{made}" in stored(kept["page"])
            kept["page"].goto("about:blank")
            return str(made)

        def after(_browser: Browser) -> None:
            page = kept["page"]
            page.wait_for_timeout(3000)
            page.goto(one.url + "/thanks")
            page.wait_for_function(CONFIRMED)
            page.goto(one.url + "/")
            page.wait_for_function(CONFIRMED)
            kept["context"].close()

        async with site() as one:
            async with gateway_of(one, tmp_path, lab_files(lab)):
                shop(one, head=ANSWERED)
                await chrome(before)
                await idle(one)
            made = await chrome(during)
            async with gateway_of(one, tmp_path, lab_files(lab)) as gateway:
                await chrome(after)
                await idle(one)
                assert one_of(lab, "purchase")["id"] == made
                assert [entry.id for entry in lab.inbox("meta") if entry.name == "Purchase"] == [made]
                assert 'outcome="duplicate"' not in await gateway.metrics()

    async def test_a_page_that_stays_open_tries_again(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        kept: dict[str, Any] = {}

        def before(browser: Browser) -> None:
            kept["context"] = browser.new_context(user_agent=AGENT)
            page = kept["page"] = kept["context"].new_page()
            page.goto(one.url)
            page.wait_for_function(CONFIRMED)

        def during(_browser: Browser) -> None:
            kept["page"].evaluate("tagway('event', 'login'); tagway('event', 'search', {search_term: 'cup'})")
            kept["page"].wait_for_timeout(300)

        def after(_browser: Browser) -> None:
            kept["page"].wait_for_function(CONFIRMED)
            kept["context"].close()

        async with site() as one:
            async with gateway_of(one, tmp_path, lab_files(lab)):
                shop(one, head=ANSWERED)
                await chrome(before)
                await idle(one)
            await chrome(during)
            async with gateway_of(one, tmp_path, lab_files(lab)):
                await chrome(after)
                await idle(one)
                assert names(lab) == ["page_view", "login", "search"]


class TestDataLayer:
    LAYER = f"""<script>
      window.dataLayer = [{{event: 'gtm.js', 'gtm.start': 1}}];
      function gtag() {{ dataLayer.push(arguments) }}
      gtag('js', new Date()); gtag('config', 'G-TEST12345', {{user_id: 'u-1'}});
      gtag('consent', 'default', {ALL_DENIED}); gtag('consent', 'update', {ALL_GRANTED});
      gtag('event', 'sign_up', {{method: 'mail', send_to: 'G-TEST12345', event_callback: () => 0}});
      gtag('event', 'page_view');
    </script>"""

    async def test_what_is_there_and_what_comes_is_read(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        def play(page: Page) -> None:
            page.evaluate("""() => {
              gtag('set', 'user_data', {email: 'jane@example.com', address: {first_name: 'Jane', postal_code: '10115'}});
              const item = {item_id: 'cup', item_name: 'Cup', item_category: 'Kitchen', price: 14.5, quantity: 2};
              dataLayer.push({ecommerce: null});
              dataLayer.push({event: 'add_to_cart', ecommerce: {currency: 'EUR', value: 29, items: [item]}});
              dataLayer.push({event: 'cookie_banner_shown'}, {event: 'quiz_completed', quiz: 'cups', mail: 'a@b.example'});
              const detail = {products: [{id: 'lid', name: 'Lid', price: 3}]};
              dataLayer.push({event: 'eec', ecommerce: {currencyCode: 'EUR', detail}});
              gtag('event', 'purchase', {transaction_id: 'o-1', value: 29, currency: 'EUR', items: [item], event_id: 'e-17'});
            }""")

        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, "data-events='quiz_completed'", head=self.LAYER)
            await chrome(visit, one, play)
            await idle(one)
            assert sorted(names(lab)) == sorted(
                ["page_view", "sign_up", "add_to_cart", "quiz_completed", "view_item", "purchase"]
            )
            bought = one_of(lab, "purchase")
            assert bought["id"] == "e-17"
            assert bought["props"] == {"transaction_id": "o-1", "value": 29, "currency": "EUR"}
            item = {"id": "cup", "name": "Cup", "category": "Kitchen", "price": 14.5, "quantity": 2}
            assert bought["items"] == [item]
            told = {"id": "u-1", "first_name": "Jane", "zip": "10115"}
            assert bought["user"] == {**bought["user"], **told}
            [meta] = [entry for entry in lab.inbox("meta") if entry.name == "Purchase"]
            assert meta.payload["user_data"]["em"] == [MAIL]
            assert one_of(lab, "add_to_cart")["items"] == [item]
            assert one_of(lab, "view_item")["items"] == [{"id": "lid", "name": "Lid", "price": 3}]
            assert one_of(lab, "quiz_completed")["props"] == {"quiz": "cups"}
            assert one_of(lab, "sign_up")["props"] == {"method": "mail"}
            assert one_of(lab, "sign_up")["consent"]["explicit"] is True

    async def test_it_can_be_left_alone_but_for_the_consent(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, "data-layer='off'", head=self.LAYER)
            await chrome(visit, one, lambda page: None)
            await idle(one)
            assert names(lab) == ["page_view"]


async def test_it_works_under_other_names(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    asked: list[str] = []

    def play(page: Page) -> None:
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        page.wait_for_timeout(200)

    paths = "paths:\n  prefix: /m\n  events: e\n  tag: t.js\n"
    async with shop_and_gateway(tmp_path, lab, gateway=paths) as one:
        shop(one, head=ANSWERED, src=f"{one.tag_host}/m/t.js?k=wk_shop")
        await chrome(visit, one, play, until=lambda: names(lab).count("page_view") == 2)
        await idle(one)
        assert {url.removeprefix(one.tag_host) for url in asked} >= {"/m/t.js?k=wk_shop", "/m/e?k=wk_shop"}
        assert not any("/v1/events" in url for url in asked)
        assert names(lab) == ["page_view", "page_view"]


async def test_what_a_visitor_does_is_measured(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    def play(page: Page) -> None:
        page.evaluate("document.querySelectorAll('a').forEach((a) => a.addEventListener('click', (e) => e.preventDefault()))")
        page.evaluate("document.addEventListener('submit', (e) => e.preventDefault())")
        for element in ("#out", "#in", "#file", "#marked span", "form[name=news] button", "#lead button"):
            page.click(element)
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(300)

    body = f"""<a id=out href="https://partner.example/x?y=1">Partner</a> <a id=in href="/cart">Cart</a>
      <a id=file href="/prices.pdf">Prices</a>
      <a id=marked href="/x" data-tagway="select_promotion" data-tagway-promotion-name="Summer" data-tagway-value="5">
        <span>Sale</span></a>
      <form name=news action="/subscribe?token=1"><input name=email value="jane@example.com"><button>Go</button></form>
      <form id=lead data-tagway="generate_lead" data-tagway-currency="EUR"><button>Call me</button></form>{TALL}"""
    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, head=ANSWERED, body=body)
        await chrome(visit, one, play)
        await idle(one)
        found = {event["name"]: event.get("props", {}) for event in arrived(lab)}
        expected = {"page_view", "click", "file_download", "select_promotion", "form_submit", "generate_lead", "scroll"}
        assert set(found) - {"user_engagement"} == expected
        assert found["click"] == {**found["click"], "link_domain": "partner.example", "link_text": "Partner", "outbound": True}
        assert (found["file_download"]["file_extension"], found["file_download"]["file_name"]) == ("pdf", "/prices.pdf")
        assert found["select_promotion"] == {"promotion_name": "Summer", "value": 5}
        assert found["form_submit"] == {"form_name": "news", "form_destination": f"{one.url}/subscribe"}
        assert found["generate_lead"] == {"currency": "EUR"}
        assert found["scroll"] == {"percent_scrolled": 90}


async def test_what_is_measured_unasked_can_be_chosen(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, "data-auto='scroll'", head=ANSWERED, body=TALL)
        await chrome(visit, one, lambda page: page.mouse.wheel(0, 4000))
        await idle(one)
        assert names(lab) == ["scroll"]


async def test_a_click_id_is_kept_for_the_pages_after(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    def play(page: Page) -> None:
        base = page.url.rstrip("/")
        page.goto(base + "/?fbclid=IwAR0abcdef&ttclid=E.C.P.abcdefghijk")
        page.wait_for_timeout(200)
        page.evaluate("""() => {
          const kept = JSON.parse(localStorage._tw_click);
          for (const one of kept) one[2] -= 40 * 864e5;
          localStorage._tw_click = JSON.stringify(kept);
        }""")
        page.goto(base + "/cart")
        page.evaluate("tagway('event', 'login')")

    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, head=ANSWERED)
        await chrome(visit, one, play, cookies=False)
        await idle(one)
        ids = one_of(lab, "login")["ids"]
        assert ids["fbclid"] == "IwAR0abcdef"
        assert re.fullmatch(r"fb\.1\.\d{13}\.IwAR0abcdef", ids["fbc"])
        assert "ttclid" not in ids


async def test_the_small_one_does_its_part(chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
    def play(page: Page) -> None:
        page.evaluate("history.pushState({}, '', '/product')")
        page.wait_for_timeout(100)
        page.evaluate(f"tagway('event', 'purchase', {ORDER})")

    async with shop_and_gateway(tmp_path, lab) as one:
        shop(one, head=ANSWERED, src=f"{one.tag_host}/tag.js?core&k=wk_shop")
        await chrome(visit, one, play)
        await idle(one)
        assert names(lab) == ["page_view", "page_view", "purchase"]
        assert one_of(lab, "purchase")["ids"]["ga_client_id"] == "1098115397.1795514300"


class TestInSomebodyElsesPage:
    async def test_a_strict_policy_needs_two_lines_for_it(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        def play(page: Page) -> None:
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            page.reload()
            page.evaluate("tagway('consent', 'granted')")
            page.wait_for_timeout(200)
            assert [text for text in said if "Content Security Policy" in text] == []

        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, "data-hold")
            one.headers["Content-Security-Policy"] = (
                f"default-src 'none'; script-src {one.tag_host}; connect-src {one.tag_host}; require-trusted-types-for 'script'"
            )
            await chrome(visit, one, play)
            await idle(one)
            assert names(lab) == ["page_view"]

    async def test_it_adds_one_name_to_the_page(self, chrome: BrowserThread, tmp_path: Path, lab: Lab) -> None:
        def play(page: Page) -> None:
            added = "Object.keys(window).filter((name) => !window.before.includes(name) && name !== 'before')"
            assert page.evaluate(added) == ["tagway"]

        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, "data-layer='off'", head="<script>window.before = Object.keys(window)</script>")
            await chrome(visit, one, play)
            await idle(one)

    @pytest.mark.parametrize(
        "trouble",
        [
            "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})",
            "delete window.localStorage; window.fetch = () => { throw new TypeError('no') }",
            "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
            "window.dataLayer = {push: 'what'}",
            "window.dataLayer = [null, 0, 'x', {}, {event: 5}, {ecommerce: 7}, ['event'], ['consent', 'update', 3]]",
            "navigator.sendBeacon = () => { throw new Error('no') }",
            "window.__tcfapi = () => { throw new Error('no') }; window.__gpp = 5",
        ],
    )
    async def test_nothing_that_goes_wrong_reaches_the_page(
        self, chrome: BrowserThread, tmp_path: Path, lab: Lab, trouble: str
    ) -> None:
        def play(page: Page) -> str:
            for call in ("", "'what'", "'event'", "'event', 'x', {y: window}", "'consent', null", "'identify', 7", "'config'"):
                page.evaluate(f"void tagway({call})")
            page.evaluate("const round = {a: 1}; round.round = round; tagway('event', 'circle', {round, flat: 1})")
            return str(page.evaluate("String(tagway('event', 'login'))"))

        async with shop_and_gateway(tmp_path, lab) as one:
            shop(one, head=ANSWERED)
            made = await chrome(visit, one, play, before=trouble)
            assert UUID7.fullmatch(made)
            await idle(one)
            if "fetch" not in trouble:
                assert one_of(lab, "login")["id"] == made
                assert one_of(lab, "circle")["props"] == {"flat": 1}


def recipe(language: str) -> list[str]:
    """The blocks of docs/recipes/tag.md in a language."""
    return [block.text for block in blocks(ROOT / "docs" / "recipes" / "tag.md") if block.language == language]


@pytest.mark.parametrize("snippet", [0, 1], ids=["one line", "with a place to wait"])
async def test_the_blocks_of_the_recipe_measure_a_page(chrome: BrowserThread, tmp_path: Path, lab: Lab, snippet: int) -> None:
    """Unchanged but for the address, which is this machine's, and the key."""
    lines = [text.replace("https://t.shop.example", "{host}").replace("wk_shop_7f3k2m", "wk_shop") for text in recipe("html")]
    [code] = recipe("js")

    def play(page: Page) -> list[Any]:
        page.wait_for_function("window.tagway && tagway.version")
        page.evaluate("tagway('consent', 'granted')")
        said = page.evaluate(f"() => {{ {code.replace('tagway.lastId === id;', 'return [id, tagway.lastId === id];')} }}")
        page.click("a")
        page.wait_for_url("**/sale")
        return list(said)

    async with shop_and_gateway(tmp_path, lab) as one:
        head = lines[snippet].replace("{host}", one.tag_host)
        one.pages["/"] = f"<!doctype html><title>Shop</title>{head}<body>{lines[2]}</body>"
        one.pages["/sale"] = "<!doctype html><title>Sale</title>"
        made, same = await chrome(visit, one, play, until=lambda: "select_promotion" in names(lab))
        await idle(one)
        bought = one_of(lab, "purchase")
        assert (bought["id"], same) == (made, True)
        assert bought["props"] == {"transaction_id": "1004", "value": 42.5, "currency": "EUR"}
        assert bought["user"]["id"] == "u-1"
        assert one_of(lab, "select_promotion")["props"] == {"promotion_name": "Summer"}
        assert ("page_view" in names(lab)) == (snippet == 1), "held until the answer, or sent before it and kept from everybody"
