"""The SQLite store as the gateway uses it: real files, real processes, real commits."""

from __future__ import annotations

import asyncio
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import get_ident

import orjson
import pytest

from gateway.clock import FrozenClock
from gateway.config.models import Window
from gateway.errors import QueueFull, StoreError, StoreLocked, StoreTooNew, StoreUnfit
from gateway.outcomes import Ending, Outcome, Receipt
from gateway.queue import barred, schema
from gateway.queue import folder as folders
from gateway.queue.append import append
from gateway.queue.audit import audit_file, audit_readonly
from gateway.queue.base import Audit, DeadFilter, Firing, LaneCount, RetryState, Settlement, Store, Withdrawal
from gateway.queue.commit_thread import CommitThread
from gateway.queue.core import Core
from gateway.queue.lookup import Finder
from gateway.queue.sqlite import SqliteStore
from tests.faults.size import pick
from tests.store_kit import DELIVERED, NOW, REJECTED, deliver_all, ended, event, events, held_bytes, new_store, opened

LANE = "meta"


def row(audit: Audit, lane: str = LANE, source: str = "shop") -> LaneCount:
    """A lane's row of the ledger."""
    return next(r for r in audit.lanes if (r.lane, r.source) == (lane, source))


# life


def test_sqlite_store_is_a_store(tmp_path: Path) -> None:
    store: Store = new_store(tmp_path)
    assert store.salt == b""


async def test_reopened_store_goes_on_where_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(10))
        taken = store.take(LANE, 6)
        await store.settle(LANE, ended(taken[1:4]))
        salt = store.salt
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        assert store.salt == salt
        assert len(salt) == 32
        assert store.lanes() == {LANE: ["shop"]}
        assert [one.seq for one in store.take(LANE, 100)] == [1, 5, 6, 7, 8, 9, 10]
        assert store.depth(LANE).queued == 7


async def test_second_process_is_told_who_owns_the_store(tmp_path: Path) -> None:
    holder = "import fcntl,os,sys;f=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT);fcntl.flock(f,fcntl.LOCK_EX);"
    holder += "os.pwrite(f,b'%d' % os.getpid(),0);print('held',flush=True);sys.stdin.read()"
    command = [sys.executable, "-c", holder, str(tmp_path / "lock")]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert await process.stdout.readline() == b"held\n"
    with pytest.raises(StoreLocked, match=f"pid {process.pid}"):
        await new_store(tmp_path).open()
    await process.communicate(b"")
    async with opened(tmp_path):
        pass


async def test_store_cannot_be_opened_twice(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreLocked):
            await new_store(tmp_path).open()


async def test_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append(events(1))
    connection = sqlite3.connect(tmp_path / "tagway.db")
    connection.execute("pragma user_version=99")
    connection.close()
    with pytest.raises(StoreTooNew, match="version 99"):
        await new_store(tmp_path).open()
    with pytest.raises(StoreTooNew):
        audit_readonly(tmp_path)


async def test_other_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "tagway.db")
    connection.execute("create table other(x)")
    connection.close()
    with pytest.raises(StoreUnfit, match="not a Tagway store"):
        await new_store(tmp_path).open()


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tagway.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(StoreUnfit, match="restore"):
        await new_store(tmp_path).open()


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("/dev/sda1 / ext4 rw 0 0\nserver:/x {path} nfs4 rw 0 0\n", "nfs4"),
        ("/dev/sda1 / ext4 rw 0 0\n//server/x {parent} cifs rw 0 0\n", "cifs"),
        ("/dev/sda1 / ext4 rw 0 0\nssh {path} fuse.sshfs rw 0 0\n", "fuse.sshfs"),
    ],
)
async def test_network_file_system_is_refused(tmp_path: Path, table: str, kind: str) -> None:
    store_path = tmp_path / "with space"
    store_path.mkdir()
    mounts = tmp_path / "mounts"
    mounts.write_text(table.format(path=str(store_path).replace(" ", "\\040"), parent=str(tmp_path)))
    with pytest.raises(StoreUnfit, match=f"network file system \\({kind}\\)"):
        await new_store(store_path, mounts=mounts).open()


@pytest.mark.parametrize(
    "table",
    [
        "server:/ / nfs rw 0 0\n/dev/sdb {path} xfs rw 0 0\n",
        "/dev/sda1 / ext4 rw 0 0\nserver:/x {path}-other nfs4 rw 0 0\n",
        "",
    ],
)
async def test_local_file_system_is_taken(tmp_path: Path, table: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(table.format(path=tmp_path / "data"))
    async with opened(tmp_path / "data", mounts=mounts):
        pass


def test_this_machines_mount_table_can_be_read() -> None:
    assert folders.mount_type(Path("/proc"), folders.MOUNTS) == "proc"


async def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnfit, match="cannot be made"):
        await new_store(tmp_path / "file" / "data").open()


# hits


async def test_repeats_are_told_apart_and_counted_at_the_source(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        first, same, conflict = event("a"), event("a"), event("a", body=b'{"other":1}')
        assert await store.append([first, same, conflict]) == [Receipt.LOGGED, Receipt.SAME, Receipt.CONFLICT]
        assert await store.append([same, event("b")]) == [Receipt.SAME, Receipt.LOGGED]
        assert await store.append([event("a", source="app")]) == [Receipt.LOGGED]
        audit = await store.audit()
        shop = next(source for source in audit.sources if source.source == "shop")
        assert (shop.accepted, shop.logged, shop.same, shop.conflict) == (5, 2, 2, 1)
        assert store.counters()[("shop", "", "purchase", "duplicate", "same")] == 2
        (letter,) = await store.dead(DeadFilter(lane=""))
        assert (letter.lane, letter.event_id, letter.body) == ("", "a", b'{"other":1}')
        assert row(audit).queued == 2


async def test_ids_we_made_are_not_remembered(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.append([event("a", given=False)] * 2) == [Receipt.LOGGED] * 2


async def test_ids_are_remembered_for_48_hours_and_forgotten_later(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    async with opened(tmp_path, clock=clock) as store:
        await store.append(events(5))
        clock.advance(47.9 * 3600)
        await store.retain()
        assert await store.append([event("e-000003")]) == [Receipt.SAME]
        clock.advance(0.2 * 3600)
        await store.retain()
        await store.close()
        await store.open()
        await store.retain()
        assert await store.append([event("e-000003")]) == [Receipt.LOGGED]


async def test_hits_that_come_together_share_a_commit(tmp_path: Path) -> None:
    commits: list[str] = []
    async with opened(tmp_path, hook=lambda step: commits.append(step) if step == "commit" else None) as store:
        await asyncio.gather(*(store.append([one]) for one in events(50)))
        assert len(commits) <= 2


async def test_commits_start_apart_and_take_all_that_gathered(tmp_path: Path) -> None:
    starts: list[float] = []
    async with opened(
        tmp_path, hook=lambda step: starts.append(time.monotonic()) if step == "begin immediate" else None
    ) as store:

        async def client(number: int) -> None:
            for turn in range(5):
                await store.append([event(f"c{number}-{turn}")])

        await asyncio.gather(*(client(number) for number in range(20)))
    assert len(starts) < 50
    assert min(b - a for a, b in pairwise(starts)) >= 0.0009


async def test_lone_hit_does_not_wait_for_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        waits = []
        for one in events(20):
            await asyncio.sleep(0.003)
            started = time.perf_counter()
            await store.append([one])
            waits.append(time.perf_counter() - started)
        assert sorted(waits)[10] < 0.05


async def test_bad_member_of_a_group_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        bad = event("bad", body=None)._replace(received="not a time")  # type: ignore[arg-type]
        results = await asyncio.gather(
            store.append([event("a")]),
            store.append([bad, event("never")]),
            store.settle("no such lane", []),
            store.append([event("b")]),
            return_exceptions=True,
        )
        assert results[0] == results[3] == [Receipt.LOGGED]
        assert isinstance(results[1], ValueError)
        assert isinstance(results[2], KeyError)
        assert [one.body for one in store.take(LANE, 10)] == [event("a").body, event("b").body]


async def test_answer_comes_after_the_commit(tmp_path: Path) -> None:
    seen: list[str] = []
    async with opened(tmp_path, hook=lambda step: seen.append(step) if "commit" in step else None) as store:
        seen.clear()
        await store.append(events(1))
        assert seen == ["commit", "committed"]
        reader = sqlite3.connect(tmp_path / "tagway.db")
        assert reader.execute("select count(*) from log").fetchone() == (1,)
        reader.close()


async def test_caller_that_left_does_not_stop_the_writer(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        leaving = asyncio.ensure_future(store.append(events(3, "left")))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await store.append(events(3, "stayed")) == [Receipt.LOGGED] * 3
        assert {c.logged for c in (await store.audit()).sources} == {6}


async def test_written_store_holds_the_same_and_syncs_soon_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    original = folders.os.fdatasync
    monkeypatch.setattr("gateway.queue.sqlite.os.fdatasync", lambda fd: (synced.append(time.monotonic()), original(fd)))
    async with opened(tmp_path, ack="written") as store:
        assert store._core.db.connection.execute("pragma synchronous").fetchone() == (1,)
        started = time.monotonic()
        await store.append(events(3))
        while not synced:
            await asyncio.sleep(0.005)
        assert synced[0] - started < 0.2
    async with opened(tmp_path) as store:
        assert store._core.db.connection.execute("pragma synchronous").fetchone() == (2,)
        assert {c.logged for c in (await store.audit()).sources} == {3}


async def test_the_commit_thread_hands_back_results_and_errors_and_survives_a_caller_that_left() -> None:
    thread = CommitThread()
    left = thread.run(lambda: time.sleep(0.02))
    left.cancel()
    refused = thread.run(lambda: time.sleep("long"))  # type: ignore[arg-type]
    assert await thread.run(get_ident) != get_ident()
    with pytest.raises(TypeError):
        await refused
    last = thread.run(lambda: time.sleep(0.02))
    thread.stop()
    assert await last is None


async def test_a_new_source_outlives_a_repeat_in_its_first_group(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = await store.append([*events(2), event("e-000000"), event("other", source="news")])
        assert first == [Receipt.LOGGED, Receipt.LOGGED, Receipt.SAME, Receipt.LOGGED]
    async with opened(tmp_path) as store:
        assert await store.append([event("e-000001"), event("other", source="news")]) == [Receipt.SAME] * 2
        found = {one.source: (one.accepted, one.logged, one.same) for one in (await store.audit()).sources}
        assert found == {"shop": (4, 2, 2), "news": (2, 1, 1)}


async def test_hits_that_come_in_turn_after_turn_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.queue.writer.JOIN", 5.0)
    commits: list[str] = []
    async with opened(tmp_path, hook=lambda step: commits.append(step) if step == "commit" else None) as store:
        answers = []
        for one in events(20):
            answers.append(asyncio.ensure_future(store.append([one])))
            await asyncio.sleep(0)
        started = time.monotonic()
        assert await asyncio.gather(*answers) == [[Receipt.LOGGED]] * 20
        assert time.monotonic() - started < 2, "nobody waits for hits that do not come"
        assert len(commits) == 1


@pytest.mark.parametrize(("ack", "on_loop"), [("durable", False), ("written", True)])
async def test_only_a_commit_that_syncs_needs_a_thread(tmp_path: Path, ack: str, on_loop: bool) -> None:
    threads: list[int] = []
    async with opened(tmp_path, ack=ack, hook=lambda step: threads.append(get_ident()) if step == "commit" else None) as store:
        await store.append(events(3))
        assert [thread == get_ident() for thread in threads] == [on_loop]


# lanes


async def test_new_lane_starts_now_and_replay_fills_it(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    async with opened(tmp_path, clock=clock) as store:
        await store.append(events(5, "old", received=NOW))
        clock.advance(7200)
        await store.append(events(450, "new", received=clock.now()))
        await store.open_lane(LANE, ["shop"])
        assert store.take(LANE, 10) == []
        steps = [step async for step in store.replay(LANE, NOW + 3600)]
        assert len(steps) > 1
        assert steps[-1].done == steps[-1].total
        counted = row(await store.audit())
        assert (counted.logged, counted.backfilled, counted.queued) == (0, 450, 450)
        assert await deliver_all(store, LANE) == 450
        async for _ in store.replay(LANE, 0.0):
            pass
        assert await deliver_all(store, LANE) == 5
        async for _ in store.replay(LANE, 0.0, ["shop"]):
            pass
        assert store.take(LANE, 10) == []


async def test_replay_of_unknown_things_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        with pytest.raises(StoreError, match="no lane ga4"):
            await anext(aiter(store.replay("ga4", 0.0)))
        with pytest.raises(StoreError, match="does not read app"):
            await anext(aiter(store.replay(LANE, 0.0, ["app"])))


async def test_lane_takes_its_sources_in_turn(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop", "app"])
        await store.append(events(100, source="shop"))
        await store.append(events(5, source="app"))
        assert [one.source for one in store.take(LANE, 6)].count("app") == 3
        assert [one.source for one in store.take(LANE, 20)].count("app") == 2


async def test_half_of_what_is_taken_are_due_retries(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    async with opened(tmp_path, clock=clock) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(100))
        taken = store.take(LANE, 20)
        later = RetryState(due=NOW + 10, tries=1, first_at=NOW)
        await store.settle(LANE, [Settlement(one, "e", retry=later) for one in taken])
        assert all(one.retry is None for one in store.take(LANE, 10))
        clock.advance(10)
        assert sum(1 for one in store.take(LANE, 10) if one.retry == later) == 5
        assert store.depth(LANE).retrying == 20


async def test_idle_lane_wakes_when_its_source_gets_something(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.open_lane("ga4", ["app"])
        meta = asyncio.ensure_future(store.wait(LANE, 30))
        ga4 = asyncio.ensure_future(store.wait("ga4", 30))
        await asyncio.sleep(0.01)
        await store.append(events(1))
        await asyncio.wait_for(meta, 1)
        assert not ga4.done()
        ga4.cancel()
        await asyncio.gather(ga4, return_exceptions=True)


async def test_lane_waits_for_its_next_retry(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(1))
        (one,) = store.take(LANE, 1)
        await store.settle(LANE, [Settlement(one, "e", retry=RetryState(due=NOW + 0.05))])
        started = time.monotonic()
        assert store.take(LANE, 1) == []
        await asyncio.wait_for(store.wait(LANE, 30), 5)
        assert 0.04 < time.monotonic() - started < 1


async def test_wait_ends_with_its_timeout(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await asyncio.wait_for(store.wait(LANE, 0.01), 1)
        await asyncio.wait_for(store.wait(LANE, 0.0), 1)


async def test_released_events_come_again_and_wake_the_lane(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(4))
        taken = store.take(LANE, 4)
        waiting = asyncio.ensure_future(store.wait(LANE, 30))
        await asyncio.sleep(0)
        store.release(LANE, taken[1:])
        await asyncio.wait_for(waiting, 1)
        assert [one.seq for one in store.take(LANE, 10)] == [2, 3, 4]


@pytest.mark.slow
async def test_300_idle_lanes_cost_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append(events(10))
        before = _rss()
        for number in range(300):
            await store.open_lane(f"lane-{number}", ["shop"])
        waiting = [asyncio.ensure_future(store.wait(f"lane-{number}", 60)) for number in range(300)]
        await asyncio.sleep(0.5)
        used = time.process_time()
        await asyncio.sleep(1.5)
        used = time.process_time() - used
        grown = _rss() - before
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert used < 0.03
    assert grown < 20 << 20


def _rss() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


# endings


async def test_verdict_after_retention_comes_late(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    async with opened(tmp_path, clock=clock, retention=Window(age=3600)) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(3))
        taken = store.take(LANE, 3)
        clock.advance(3601)
        await store.retain()
        assert await store.settle(LANE, ended(taken)) == 3
        counted = row(await store.audit())
        assert (counted.outcomes, counted.late) == ({("expired", "retention"): 3}, 3)


async def test_worst_part_is_the_outcome_of_the_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(1))
        (one,) = store.take(LANE, 1)
        half = RetryState(due=NOW, tries=1, first_at=NOW, parts=(1,), worst=REJECTED)
        await store.settle(LANE, [Settlement(one, "e", retry=half)])
        (again,) = store.take(LANE, 1)
        assert again.retry == half
        await store.settle(LANE, ended([again]))
        assert row(await store.audit()).outcomes == {("rejected", "vendor_4xx"): 1}
        (letter,) = await store.dead(DeadFilter())
        assert (letter.ending, letter.tries, letter.first_at) == (REJECTED, 2, NOW)


async def test_dead_letters_are_found_replayed_and_dropped(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    async with opened(tmp_path, clock=clock) as store:
        await store.open_lane(LANE, ["shop"])
        await store.open_lane("ga4", ["shop"])
        await store.append(events(4))
        await store.settle(LANE, ended(store.take(LANE, 2), REJECTED))
        clock.advance(100)
        incomplete = Ending(Outcome.SKIPPED, "incomplete", "no currency")
        await store.settle("ga4", ended(store.take("ga4", 4), incomplete))
        cases: list[tuple[DeadFilter, int]] = [
            (DeadFilter(), 6),
            (DeadFilter(lane=LANE), 2),
            (DeadFilter(lane="nobody"), 0),
            (DeadFilter(source="app"), 0),
            (DeadFilter(outcome="skipped"), 4),
            (DeadFilter(reason="vendor_4xx"), 2),
            (DeadFilter(outcome="dead"), 0),
            (DeadFilter(event_id="e"), 6),
            (DeadFilter(since=NOW + 50), 4),
            (DeadFilter(until=NOW + 50), 2),
            (DeadFilter(limit=3), 3),
        ]
        assert [len(await store.dead(where)) for where, _ in cases] == [count for _, count in cases]
        newest = (await store.dead(DeadFilter()))[0]
        assert (newest.lane, newest.seq) == ("ga4", 4)
        assert await store.replay_dead(DeadFilter(lane=LANE)) == 2
        assert row(await store.audit()).outcomes == {}
        assert await store.drop_dead(DeadFilter(ids=(newest.id,))) == 1
        assert row(await store.audit(), "ga4").outcomes == {("skipped", "incomplete"): 4}
        assert await deliver_all(store, LANE) == 4


async def test_byte_limit_refuses_hits_only_when_retention_cannot_keep_up(tmp_path: Path) -> None:
    async with opened(tmp_path, retention=Window(bytes=100_000)) as store:
        await store.open_lane(LANE, ["shop"])
        refused = 0
        for number in range(40):
            try:
                await store.append(events(10, f"n{number}", body=b"{" + b" " * 1000 + b"}"))
            except QueueFull:
                refused += 1
                await store.retain()
        await store.retain()
        assert refused < 10
        assert store.stats().log_bytes <= 100_000
        assert row(await store.audit()).outcomes.keys() == {("expired", "space")}
        assert await store.append([event("after")]) == [Receipt.LOGGED]


async def test_firings_are_kept_found_and_aged(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    async with opened(tmp_path, clock=clock, firings=Window(age=3600, bytes=3000)) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(30))
        fired = []
        for number in range(30):
            (one,) = store.take(LANE, 1)
            firing = Firing(
                LANE, clock.now(), 200, 12.5, "POST /v22.0/events", "x" * 3000, (("shop", one.seq, f"id-{number}"),)
            )
            await store.settle(LANE, [Settlement(one, f"id-{number}", DELIVERED)], [firing])
            fired.append(firing)
        (found,) = await store.firings(None, "id-7", 10)
        assert (found.events, found.answer) == ((("shop", 8, "id-7"),), "x" * 2048)
        assert [f.events[0][1] for f in await store.firings(LANE, None, 3)] == [30, 29, 28]
        assert await store.firings("ga4", None, 3) == []
        await store.retain()
        assert len(await store.firings(LANE, None, 100)) == 1
        clock.advance(3601)
        await store.retain()
        assert await store.firings(LANE, None, 100) == []


async def test_event_is_found_by_its_id(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append([event("given"), event("made", given=False), event("x"), event("x", body=b'{"conflict":1}')])
        assert await store.find("given") == [("shop", 1, event("given").body, NOW)]
        assert await store.find("made") == [("shop", 2, event("made").body, NOW)]
        assert [found[1] for found in await store.find("x")] == [3, 0]  # the event itself before what repeated it
        assert await store.find("nobody") == []


# people


async def test_withdrawal_holds_when_it_returns_and_after_a_restart(tmp_path: Path) -> None:
    subject = b"s" * 32
    async with opened(tmp_path) as store:
        await store.withdraw([Withdrawal(subject, frozenset({"ad_storage", "ad_user_data"}), NOW)])
        assert store.withdrawals[subject]["ad_storage"] == (NOW, 0.0)
        await store.lift([subject, b"other"], frozenset({"ad_storage"}), NOW + 5)
    async with opened(tmp_path) as store:
        assert store.withdrawals == {subject: {"ad_storage": (NOW, NOW + 5), "ad_user_data": (NOW, 0.0)}}
        await store.lift([subject], frozenset({"ad_user_data"}), NOW - 5)
        assert store.withdrawals[subject]["ad_user_data"] == (NOW, 0.0)


async def test_erased_person_leaves_no_byte_in_any_file(tmp_path: Path) -> None:
    marker = "ada.lovelace@example.com"
    mine = b'{"v":1,"user":{"email":["x@example.com","%s"]}}' % marker.encode()
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.open_lane("ga4", ["shop"])
        await store.append([event(f"ada-{n}", body=mine) for n in range(3)] + events(300))
        await store.append([event("ada-0", body=mine + b" ")])
        taken = store.take(LANE, 3)
        fired = Firing(LANE, NOW, 400, 1.0, "POST", f"no user {marker}", tuple(("shop", t.seq, f"ada-{t.seq}") for t in taken))
        await store.settle(LANE, ended(taken[:2], REJECTED), [fired])
        await store.replay_dead(DeadFilter(lane=LANE, limit=1))
        assert marker.encode() in held_bytes(tmp_path)
        assert await store.erase(frozenset({"e-000007"}), [("user", "email", "Ada.Lovelace@EXAMPLE.com ")]) == 5
        left = held_bytes(tmp_path)
        assert marker.encode() not in left
        assert b"ada-" not in left
        assert b"e-000007" not in left
        counted = row(await store.audit(), "ga4")
        assert (counted.outcomes, counted.queued) == ({("erased", ""): 4}, 299)
        assert row(await store.audit()).outcomes == {("rejected", "vendor_4xx"): 1, ("erased", ""): 3}
        assert await store.settle(LANE, ended(taken[2:])) == 1


async def test_erasure_says_when_the_log_could_not_be_emptied(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([event("a", body=b'{"user":{"id":"u-1"}}')])
        reader = sqlite3.connect(tmp_path / "tagway.db", isolation_level=None)
        reader.execute("begin")
        reader.execute("select * from log").fetchall()
        store._core.db.connection.execute("pragma busy_timeout=10")
        with pytest.raises(StoreError, match="could not be emptied"):
            await store.erase(frozenset(), [("user", "id", "u-1")])
        reader.close()
        assert await store.erase(frozenset(), [("user", "id", "u-1")]) == 0
        assert b"u-1" not in held_bytes(tmp_path)


async def test_personal_data_leaves_settled_events_after_a_while(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    body = b'{"v":1,"user":{"email":"ada@example.com"},"page":{"url":"https://a.example/p?q=1#f"},"props":{"value":1}}'
    bare = b'{"v":1,"page":{"url":"https://a.example/p"},"props":{"value":1}}'
    async with opened(tmp_path, clock=clock) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append([event("a", body=body), event("b", body=body)])
        taken = store.take(LANE, 2)
        await store.settle(LANE, ended(taken[:1]))
        clock.advance(72 * 3600 + 1)
        await store.retain()
        assert [(await store.find(key))[0][2] for key in "ab"] == [bare, body]
        await store.settle(LANE, ended(taken[1:]))
        await store.retain()
        assert [(await store.find(key))[0][2] for key in "ab"] == [bare, bare]


async def test_the_mark_of_an_order_that_nobody_may_have_leaves_with_the_personal_data(tmp_path: Path) -> None:
    clock = FrozenClock(NOW)
    async with opened(tmp_path, clock=clock) as store:
        raw = {"reason": "ad_storage is denied"} | barred.marked(store.salt, "shop", {"props": {"transaction_id": "1042"}})
        await store.open_lane(LANE, ["shop"])
        await store.append([event("a", body=orjson.dumps({"v": 1, "raw": raw}))])
        await store.settle(LANE, ended(store.take(LANE, 1)))
        finder = Finder(tmp_path / "tagway.db", {1: "shop"})
        assert [row[1] for row in finder.find_order("1042")] == [1]
        assert finder.find_order("1043") == []
        clock.advance(72 * 3600 + 1)
        await store.retain()
        assert finder.find_order("1042") == []
        assert (await store.find("a"))[0][2] == b'{"v":1,"raw":{"reason":"ad_storage is denied"}}'


# a full disk


async def test_full_store_refuses_hits_settles_on_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.queue.writer.RECOVERY_SECONDS", 0.2)
    async with opened(tmp_path, ballast=1_000_000) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(100, body=b"x" * 1000))
        connection = store._core.db.connection
        (pages,) = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count={pages + 2}")
        with pytest.raises(QueueFull, match="full"):
            await asyncio.wait_for(store.append(events(100, "more", body=b"x" * 1000)), 1)
        assert store.stats().full
        await _until(lambda: not (tmp_path / "ballast").exists(), 1)
        with pytest.raises(QueueFull):
            await store.append([event("refused")])
        taken = store.take(LANE, 50)
        assert await store.settle(LANE, ended(taken)) == 0
        connection.execute("pragma max_page_count=1000000")
        await _until(lambda: not store.stats().full, 5)
        assert (tmp_path / "ballast").stat().st_size == 1_000_000
        assert await store.append(events(100, "more", body=b"x" * 1000)) == [Receipt.LOGGED] * 100


@pytest.mark.slow
async def test_file_size_limit_loses_nothing_and_recovers(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    accepted = 0
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
            while not store.stats().full:
                batch = events(20, f"n{accepted}", body=b"x" * 1000)
                answers = await asyncio.gather(store.append(batch), return_exceptions=True)
                accepted += sum(len(answer) for answer in answers if isinstance(answer, list))
            assert await store.settle(LANE, ended(store.take(LANE, 50))) == 0
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await _until(lambda: not store.stats().full, 5)
        await store.append([event("after")])
        assert row(await store.audit()).logged == accepted + 1
        assert await deliver_all(store, LANE) == accepted + 1 - 50


async def test_store_without_room_for_its_reserve_refuses_hits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.queue.writer.RECOVERY_SECONDS", 0.02)
    room = False
    original = folders.os.posix_fallocate

    def fallocate(descriptor: int, offset: int, length: int) -> None:
        if not room:
            raise OSError(28, "No space left on device")
        original(descriptor, offset, length)

    monkeypatch.setattr("gateway.queue.folder.os.posix_fallocate", fallocate)
    async with opened(tmp_path, ballast=100_000) as store:
        with pytest.raises(QueueFull):
            await store.append(events(1))
        room = True
        await _until(lambda: not store.stats().full, 5)
        assert await store.append(events(1)) == [Receipt.LOGGED]


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# damage


async def test_damaged_row_is_never_delivered_and_is_reported(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(5))
    _edit(tmp_path, "update log set body = cast(replace(body, 'e-000002', 'e-000009') as blob) where id & 1099511627775 = 3")
    assert any("event 3 fails its checksum" in problem for problem in audit_readonly(tmp_path).problems)
    store = new_store(tmp_path)
    await store.open()
    await store.open_lane(LANE, ["shop"])
    taken = store.take(LANE, 10)
    assert [one.seq for one in taken] == [1, 2, 4, 5]
    await store.settle(LANE, ended(taken))
    assert store.stats().corrupt_rows == 1
    assert row(await store.audit()).outcomes == {("delivered", ""): 4, ("dead", "mapping"): 1}
    (letter,) = await store.dead(DeadFilter())
    assert letter.ending.detail == "stored row failed its checksum"
    assert await store.replay_dead(DeadFilter()) == 0
    assert store.take(LANE, 10) == []
    await store.close()


@pytest.mark.parametrize(
    "sql",
    [
        "update counter set n = n + 1 where code = 16",
        "update counter set n = n - 1 where code = 1",
        "update counter set code = 9999 where code = 16",
        "update source set accepted = accepted + 1",
        "update source set head = head + 1",
        "delete from log where id & 1099511627775 = 1",
        "delete from log where id & 1099511627775 = 9",
        "delete from run",
        "update run set hi = hi + 100",
        "update run set code = 999",
        "insert into run values(1, 1, 2, 3, 16)",
        "delete from retry",
        "insert into retry select lane, id + 5, source, due, tries, first_at, parts, worst, worst_detail, alone, why,"
        " why_detail, token, since, label, received, event_id, body, crc from retry limit 1",
        "update position set cursor = cursor + 1",
        "update position set backfilled = 1",
        "update position set logged_at_start = logged_at_start + 1",
        "update log set received = received + 1 where id & 1099511627775 = 2",
        "update log set label = 'refund' where id & 1099511627775 = 2",
        "update dead set body = x'00'",
        "delete from lane",
    ],
)
async def test_audit_notices(tmp_path: Path, sql: str) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(9))
        taken = store.take(LANE, 6)
        await store.settle(LANE, [*ended(taken[:3]), *ended(taken[3:4], REJECTED)])
        await store.settle(LANE, [Settlement(taken[4], "e", retry=RetryState(due=NOW + 9))])
    assert audit_readonly(tmp_path).balanced
    _edit(tmp_path, sql)
    assert not audit_readonly(tmp_path).balanced


async def test_audit_runs_while_another_process_owns_the_store(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        await store.append(events(5))
        code = "import sys,pathlib;from gateway.queue.audit import audit_readonly;"
        code += "a=audit_readonly(pathlib.Path(sys.argv[1]));print(a.balanced,a.lanes[0].queued)"
        command = [sys.executable, "-c", code, str(tmp_path)]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        out, _ = await process.communicate()
        assert out == b"True 5\n"


def test_audit_of_no_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        audit_readonly(tmp_path)


def _edit(folder: Path, sql: str) -> None:
    connection = sqlite3.connect(folder / "tagway.db")
    with connection:
        connection.execute(sql)
    connection.close()


def _filled(folder: Path, commits: int) -> tuple[Path, list[bytes]]:
    """A file whose commits all stand in the write-ahead log, as after a power cut; returns it and the bodies in order."""
    folder.mkdir()
    core = Core(folder / "tagway.db", FrozenClock(NOW))
    core.open_lane(LANE, ["shop"])
    core.db.connection.execute("pragma wal_checkpoint(truncate)").fetchall()
    bodies = []
    for number in range(commits):
        batch = events(3, f"n{number:04d}", body=b'{"n":%d}' % number + b" " * 600)
        core.run(lambda stage, batch=batch: append(stage, batch))
        bodies += [one.body for one in batch]
    cut = folder.parent / "cut"
    cut.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{folder / 'tagway.db'}{suffix}", f"{cut / 'tagway.db'}{suffix}")
    core.close()
    return cut / "tagway.db", bodies


@pytest.mark.slow
def test_cut_write_ahead_log_gives_back_every_whole_commit(tmp_path: Path) -> None:
    file, bodies = _filled(tmp_path / "store", 40)
    wal = Path(f"{file}-wal").read_bytes()
    frame = schema.PAGE + 24
    recovered = []
    opened = {*range(32, len(wal), 1021), *range(len(wal) - 3 * frame, len(wal), 97), len(wal)}
    for cut in sorted(opened.union(range(len(wal) - pick(0, 65_537), len(wal)))):
        other = tmp_path / "other.db"
        shutil.copy(file, other)
        Path(f"{other}-wal").write_bytes(wal[:cut])
        rows = _opened(other) if cut in opened else _read(other)
        recovered.append(len(rows))
        assert rows == bodies[: len(rows)]
        assert len(rows) % 3 == 0
        for suffix in ("", "-wal", "-shm"):
            Path(f"{other}{suffix}").unlink(missing_ok=True)
    assert recovered == sorted(recovered)
    assert recovered[-1] == len(bodies)


def _opened(file: Path) -> list[bytes]:
    """The bodies that a store finds when it opens; its books balance."""
    core = Core(file, FrozenClock(NOW), synchronous="off")
    rows = _read(file)
    core.close()
    assert audit_file(file).balanced
    return rows


def _read(file: Path) -> list[bytes]:
    connection = sqlite3.connect(file)
    rows = [body for (body,) in connection.execute("select body from log order by id")]
    connection.close()
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_flipped_bits_never_crash_and_never_alter_what_is_delivered(tmp_path: Path, seed: int) -> None:
    file, bodies = _filled(tmp_path / "store", 20)
    connection = sqlite3.connect(file)
    connection.execute("pragma wal_checkpoint(truncate)").fetchall()
    connection.close()
    clean = file.read_bytes()
    draw = random.Random(seed)
    reported = 0
    for _ in range(pick(60, 250)):
        at = draw.randrange(len(clean))
        folder = tmp_path / "flipped"
        folder.mkdir()
        flipped = bytearray(clean)
        flipped[at] ^= 1 << draw.randrange(8)
        (folder / "tagway.db").write_bytes(flipped)
        reported += await _survives(folder, set(bodies))
        shutil.rmtree(folder)
    assert reported


async def _survives(folder: Path, bodies: set[bytes]) -> bool:
    """Open, deliver, settle; what is delivered is as it came. Returns whether the damage was reported."""
    store = new_store(folder)
    try:
        await store.open()
    except (StoreUnfit, StoreTooNew):  # the latter where the bit was one of the version's
        return True
    try:
        await store.open_lane(LANE, ["shop"])
        for _ in range(10):
            taken = store.take(LANE, 50)
            assert {one.body for one in taken} <= bodies
            await store.settle(LANE, ended(taken))
        await store.append([event("later")])
        audit = await store.audit()
        return not audit.balanced or store.stats().corrupt_rows > 0
    except (StoreError, QueueFull):
        return True
    finally:
        await store.close()


# checkpoints


@pytest.mark.slow
async def test_write_ahead_log_stays_small_under_constant_writing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane(LANE, ["shop"])
        number = 0
        while number * 20 * 2000 < 60 << 20:
            batches = (store.append(events(20, f"n{number + i}", body=b"x" * 2000)) for i in range(10))
            await asyncio.gather(*batches)
            number += 10
            await store.settle(LANE, ended(store.take(LANE, 200)))
        largest = (tmp_path / "tagway.db-wal").stat().st_size
    assert largest < 64 << 20


async def test_closed_store_takes_no_more(tmp_path: Path) -> None:
    store: SqliteStore = new_store(tmp_path)
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.append(events(1))
