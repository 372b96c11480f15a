"""`kill -9` of the whole kit in the middle of its work: nothing is lost, nothing done twice."""

import sqlite3
import threading
from collections import Counter
from random import Random

import httpx
import pytest

from tests.journeys.conftest import until
from tests.journeys.kit_stand import KitProcess, World, prepare
from unspread.fingerprint import fingerprint_image
from unspread.model import Kind
from unspread.testing.samples import encoded, landscape

PICTURES = 12


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


def pdq(media: bytes) -> str:
    return fingerprint_image(media).first(Kind.PDQ).value.hex()


def test_kill_9_during_sync_scan_and_action_loses_nothing_and_doubles_nothing(tmp_path, world):
    data = tmp_path / "kit"
    prepare(data, world)
    random = Random(5)
    media = [encoded(landscape(seed, 320, 240), "PNG") for seed in range(PICTURES)]
    strangers = [random.randbytes(32).hex() for _ in range(80)]
    world.records = [(value, "Active") for value in strangers]
    acknowledged: list[str] = []
    kits: list[KitProcess] = []
    killed: list[str] = []

    def start() -> KitProcess:
        kits.append(KitProcess(data))
        return kits[-1]

    def kill(when: str) -> None:
        killed.append(when)
        kits[-1].kill()

    def kill_once(when: str, happens) -> None:
        if when not in killed and happens:
            kill(when)

    try:
        # In the middle of the first reading of the list: 20 pages, killed at the eighth.
        world.on_page = lambda number: kill_once("sync", number == 8)
        start()
        until(lambda: "sync" in killed, 90)
        kit = start().ready()

        # While uploads are being scanned and remembered, by four callers at once.
        def upload(own: list[int]) -> None:
            for at in own:
                try:
                    if kit.scan(media[at], f"post-{at}").status_code == 200:
                        acknowledged.append(f"post-{at}")
                except httpx.HTTPError:
                    return
                kill_once("scan", len(acknowledged) == 5)

        callers = [
            threading.Thread(target=upload, args=([at for at in range(PICTURES) if at % 4 == own],))
            for own in range(4)
        ]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        assert "scan" in killed
        kit = start().ready()
        for at in range(PICTURES):
            if f"post-{at}" not in acknowledged:
                assert kit.scan(media[at], f"post-{at}").status_code == 200
                acknowledged.append(f"post-{at}")

        # While actions are delivered: the platform was told, and the kit dies before it knows so.
        def on_action(_: dict[str, object]) -> None:
            kill_once("action", len(world.delivered) == 3)

        world.on_action = on_action
        world.records = world.records + [(pdq(each), "Active") for each in media]
        until(lambda: "action" in killed, 90)

        kit = start().ready()
        until(lambda: len({each["id"] for each in world.delivered}) == PICTURES, 90)
        for each in media:
            assert kit.scan(each).json()["decision"] == "refuse"
        kit.kill()
    finally:
        for each in kits:
            each.stop()

    assert killed == ["sync", "scan", "action"]
    with sqlite3.connect(data / "platform.sqlite3") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (listed,) = database.execute("SELECT count(*) FROM listings").fetchone()
        assert listed == len(strangers) + PICTURES
        actions = database.execute("SELECT reference, action, state FROM actions").fetchall()
        hosted = database.execute("SELECT reference FROM hosted").fetchall()
    assert Counter(reference for reference, _, _ in actions) == Counter(acknowledged)
    assert {(action, state) for _, action, state in actions} == {("remove", "delivered")}
    assert {name for (name,) in hosted} <= set(acknowledged)
    # At least once, and always under the same id: who has done it knows it again.
    ids = {(each["reference"], each["id"]) for each in world.delivered}
    assert len(ids) == PICTURES
    assert len(world.delivered) > PICTURES
