"""The main job, whole: hits in, vendors out, and every event accounted for."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from gateway.lab.server import Lab
from tests.gateway_kit import DENIED, GRANTED, LAB, lab_files, purchase, running, write_files
from tests.vendor import Play, Vendor

TWO_SOURCES = "  red:\n    write_keys: [wk_red]\n  blue:\n    write_keys: [wk_blue]\n"


async def test_a_purchase_reaches_four_vendors_with_the_right_payload(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab)) as gateway:
        answer = await gateway.send(purchase(), key="sk_shop")
        assert answer == {"accepted": 1, "ids": ["e-1"], "rejected": []}
        await gateway.idle()
        for vendor in LAB:
            inbox = lab.inbox(vendor)
            assert [entry.accepted for entry in inbox] == [True], (vendor, inbox)
            assert (await gateway.outcomes(vendor)) == {"delivered": 1}
        assert lab.inbox("meta")[0].payload["custom_data"]["value"] == 42.5
        assert lab.inbox("meta")[0].payload["user_data"]["client_ip_address"] == "203.0.113.7"
        assert lab.inbox("tiktok")[0].id == lab.inbox("meta")[0].id == "e-1"
        text = await gateway.metrics()
        assert 'tagway_outcomes_total{destination="meta",outcome="delivered",reason="",source="shop"} 1.0' in text


@pytest.mark.parametrize("consent", [DENIED, {}, {"ad_storage": "granted"}], ids=["denied", "silent", "partial"])
async def test_without_the_consent_it_needs_a_vendor_gets_nothing(tmp_path: Path, lab: Lab, consent: dict[str, str]) -> None:
    async with running(tmp_path, lab_files(lab)) as gateway:
        await gateway.send(purchase(consent=consent))
        await gateway.idle()
        for vendor in LAB:
            assert lab.requests(vendor) == []
            assert (await gateway.outcomes(vendor)) == {"skipped{consent}": 1}


async def test_an_event_nobody_may_have_keeps_no_personal_data(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab)) as gateway:
        await gateway.send(purchase(consent=DENIED))
        await gateway.idle()
        [(_, _, body, _)] = await gateway.app.store.find("e-1")
        stored = json.loads(body)
        assert set(stored) == {"v", "id", "name", "time", "received", "source", "dialect", "consent", "raw"}
        assert "is denied (event)" in stored["raw"]["reason"]


async def test_a_repeat_is_answered_and_counted_once(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta"])) as gateway:
        for event in (purchase(), purchase(), purchase(props={"value": 1, "currency": "EUR"})):
            assert (await gateway.send(event))["accepted"] == 1
        await gateway.idle()
        [source] = (await gateway.app.store.audit()).sources
        assert (source.accepted, source.logged, source.same, source.conflict) == (3, 1, 1, 1)
        assert len(lab.inbox("meta")) == 1
        dead = await gateway.admin("GET", "/dlq?outcome=duplicate")
        assert [letter["reason"] for letter in dead["dead"]] == ["conflict"]


async def test_a_withdrawal_stops_what_is_still_queued(tmp_path: Path, lab: Lab) -> None:
    lab.down("meta", "500")
    async with running(tmp_path, lab_files(lab, ["meta"])) as gateway:
        await gateway.send(purchase())
        while not lab.requests("meta"):
            await asyncio.sleep(0.01)
        body = {"user": {"id": "u-1"}, "consent": {"ad_storage": "denied"}}
        async with gateway.client.post(f"{gateway.url}/v1/consent?k=wk_shop", json=body) as answer:
            assert answer.status == 200, await answer.text()
        began = len(lab.requests("meta"))
        lab.down("meta", None)
        await gateway.idle()
        assert (await gateway.outcomes("meta")) == {"withdrawn": 1}
        assert len(lab.requests("meta")) <= began + 1
        assert lab.inbox("meta") == [] or not any(entry.accepted for entry in lab.inbox("meta"))


async def test_two_events_of_one_client_share_nothing_that_is_their_own(tmp_path: Path, vendor: Vendor) -> None:
    """One request, one client id, but another consent, address and time each: no envelope may join them."""
    vendor.always(Play(204))
    files = {"ga4": LAB["ga4"].format(base=vendor.url())}
    async with running(tmp_path, files) as gateway:
        other = {**GRANTED, "ad_user_data": "denied", "ad_personalization": "denied"}
        await gateway.send(
            [
                purchase("e-1", device={"ip": "203.0.113.7"}),
                purchase("e-2", consent=other, device={"ip": "198.51.100.9"}),
            ],
            key="sk_shop",
        )
        await gateway.idle()
        bodies = [seen.json() for seen in vendor.seen if "debug" not in seen.path]
        assert [len(body["events"]) for body in bodies] == [1, 1]
        by_ip = {body["ip_override"]: body["consent"]["ad_user_data"] for body in bodies}
        assert by_ip == {"203.0.113.7": "GRANTED", "198.51.100.9": "DENIED"}


async def test_two_tenants_never_share_a_byte_also_on_replay(tmp_path: Path, vendor: Vendor) -> None:
    vendor.always(Play(400))
    files = {
        name: f"type: webhook\nsources: [{name}]\nsettings:\n  url: {vendor.url(f'/{name}')}\n"
        "batch:\n  max_events: 10\n  wrap: $batch\n"
        for name in ("red", "blue")
    }
    async with running(tmp_path, files, sources=TWO_SOURCES) as gateway:
        for name in ("red", "blue"):
            await gateway.send([purchase(f"{name}-{n}") for n in range(3)], key=f"wk_{name}")
        await gateway.idle()
        vendor.always(Play(200))
        assert (await gateway.admin("POST", "/dlq/replay", {"outcome": "rejected"}))["replayed"] == 6
        await gateway.idle()
        for name in ("red", "blue"):
            assert (await gateway.outcomes(name)) == {"delivered": 3}
        for seen in vendor.seen:
            own, other = ("red", "blue") if seen.path.startswith("/red") else ("blue", "red")
            assert own.encode() in seen.body
            assert other.encode() not in seen.body


async def test_a_new_destination_starts_now_and_is_back_filled_on_request(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta"])) as gateway:
        await gateway.send([purchase(f"e-{n}") for n in range(3)])
        await gateway.idle()
        write_files(tmp_path, lab_files(lab, ["meta", "tiktok"]))
        await gateway.admin("POST", "/reload", {})
        await gateway.send(purchase("e-9"))
        await gateway.idle()
        assert [entry.id for entry in lab.inbox("tiktok")] == ["e-9"]
        url = f"http://{gateway.app.addresses['admin']}/replay"
        async with gateway.client.post(url, json={"to": "tiktok", "since": "1h"}) as answer:
            lines = [json.loads(line) for line in (await answer.text()).splitlines()]
        assert lines[-1] == {"done": 4, "total": 4, "queued": 3}
        await gateway.idle()
        assert sorted(entry.id for entry in lab.inbox("tiktok")) == ["e-0", "e-1", "e-2", "e-9"]
        assert [entry.id for entry in lab.inbox("meta")] == ["e-0", "e-1", "e-2", "e-9"]


async def test_a_removed_destination_is_parked_and_resumes(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta", "tiktok"])) as gateway:
        (tmp_path / "destinations" / "tiktok.yaml").unlink()
        await gateway.admin("POST", "/reload", {})
        await gateway.send(purchase("e-1"))
        await gateway.idle()
        assert (await gateway.outcomes("tiktok")) == {"skipped{disabled}": 1}
        write_files(tmp_path, lab_files(lab, ["meta", "tiktok"]))
        await gateway.admin("POST", "/reload", {})
        await gateway.send(purchase("e-2"))
        await gateway.idle()
        assert (await gateway.outcomes("tiktok")) == {"skipped{disabled}": 1, "delivered": 1}


async def test_a_removed_destination_stays_parked_after_a_restart(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta", "tiktok"])):
        pass
    (tmp_path / "destinations" / "tiktok.yaml").unlink()
    async with running(tmp_path, lab_files(lab, ["meta"])) as gateway:
        await gateway.send(purchase("e-1"))
        await gateway.idle()
        assert (await gateway.outcomes("tiktok")) == {"skipped{disabled}": 1}


async def test_a_source_taken_from_a_destination_ends_disabled_there(tmp_path: Path, lab: Lab) -> None:
    lab.down("meta", "500")
    both = {"meta": LAB["meta"].format(base=lab.url("meta")) + "sources: [red, blue]\n"}
    async with running(tmp_path, both, sources=TWO_SOURCES) as gateway:
        await gateway.send(purchase("e-1"), key="wk_red")
        await gateway.send(purchase("e-2"), key="wk_blue")
        write_files(tmp_path, {"meta": both["meta"].replace("red, blue", "blue")}, TWO_SOURCES)
        await gateway.admin("POST", "/reload", {})
        lab.down("meta", None)
        await gateway.send(purchase("e-3"), key="wk_red")
        await gateway.idle(30)
        assert (await gateway.outcomes("meta")) == {"delivered": 1, "skipped{disabled}": 2}
        assert {entry.id for entry in lab.inbox("meta") if entry.accepted} == {"e-2"}


async def test_a_bad_file_keeps_the_old_configuration(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta"])) as gateway:
        (tmp_path / "destinations" / "meta.yaml").write_text("type: meta\nsettngs: {}\n")
        url = f"http://{gateway.app.addresses['admin']}/reload"
        async with gateway.client.post(url, json={}) as answer:
            assert answer.status == 400
            assert "did you mean settings" in (await answer.json())["error"]
        await gateway.send(purchase())
        await gateway.idle()
        assert (await gateway.outcomes("meta")) == {"delivered": 1}


@pytest.mark.parametrize(
    "damage",
    [
        "update counter set n = n + 1",
        "delete from counter",
        "update log set body = substr(body, 2)",
        "update source set accepted = accepted + 1",
        "delete from run",
    ],
)
async def test_audit_sees_a_damaged_counter_or_row(tmp_path: Path, lab: Lab, damage: str) -> None:
    async with running(tmp_path, lab_files(lab, ["meta"])) as gateway:
        await gateway.send([purchase(f"e-{n}") for n in range(3)])
        await gateway.idle()
        gateway.balanced = False
        with sqlite3.connect(tmp_path / "data" / "tagway.db") as connection:
            connection.execute(damage)
        connection.close()


async def test_a_held_destination_keeps_its_events_until_its_file_is_mended(tmp_path: Path, lab: Lab) -> None:
    files = lab_files(lab, ["meta", "tiktok"])
    async with running(tmp_path, files, gateway="config_errors: hold\n") as gateway:
        (tmp_path / "destinations" / "tiktok.yaml").write_text("type: tiktok\nsettngs: {}\n")
        await gateway.admin("POST", "/reload", {})
        await gateway.send(purchase("e-1"))
        while (await gateway.outcomes("meta")) != {"delivered": 1}:
            await asyncio.sleep(0.02)
        assert gateway.app.store.depth("tiktok").queued == 1
        (tmp_path / "destinations" / "tiktok.yaml").write_text(files["tiktok"])
        await gateway.admin("POST", "/reload", {})
        await gateway.idle()
        assert (await gateway.outcomes("tiktok")) == {"delivered": 1}
