"""The feed over connections that break, and under a scope that changes."""

import random
from pathlib import Path

import httpx
import pytest

from tests.unit.platform_kit.conftest import Platform
from unspread.errors import TransportError
from unspread.feed.partner_feed import BLOCK
from unspread.feed.records import Entry
from unspread.feed.writer import FeedPartner, Scope
from unspread.model import Level, ListingId
from unspread.testing.samples import encoded, landscape
from unspread.testing.stand_in import StandInClearinghouse


def picture(seed: int) -> bytes:
    return encoded(landscape(seed, 480, 360), "JPEG", quality=90)


@pytest.fixture
def clearinghouse() -> StandInClearinghouse:
    log = StandInClearinghouse()
    log.add()
    payload, dice = log.rows[0].payload, random.Random(1)
    log.rows.extend(
        Entry(log.rows[0].kind, dice.randbytes(16) + payload[16:]) for _ in range(8_191)
    )
    return log


def segments_asked(log: StandInClearinghouse) -> list[str]:
    return [
        request.headers.get("range", "bytes=0-")
        for request in log.requests
        if "/seg/" in request.url.path
    ]


def test_a_broken_connection_goes_on_in_the_midst_of_a_segment(
    tmp_path: Path, clearinghouse: StandInClearinghouse
) -> None:
    platform = Platform(tmp_path, clearinghouse)
    clearinghouse.breaks_after_bytes = 200_000
    platform.sync()
    assert platform.kit.states["unspread"].size == 8_192
    asked = segments_asked(clearinghouse)
    assert asked[:3] == ["bytes=0-", "bytes=200000-", "bytes=400000-"]
    length = sum(
        len(clearinghouse.public.get(path)) for path in clearinghouse.public.paths("feed/board/")
    )
    assert clearinghouse.sent_bytes <= length, "no byte came twice"
    platform.close()


def test_what_arrived_serves_the_next_round_too(
    tmp_path: Path, clearinghouse: StandInClearinghouse
) -> None:
    platform = Platform(tmp_path, clearinghouse)
    clearinghouse.breaks_after_bytes = 30_000
    with platform.following() as sync:
        # Too little progress for another try at once; yet each round goes on where the last broke.
        for round_number in range(3):
            with pytest.raises(TransportError):
                sync()
            assert segments_asked(clearinghouse)[-1] == f"bytes={30_000 * round_number}-"
        clearinghouse.breaks_after_bytes = None
        sync()
    assert segments_asked(clearinghouse)[-1] == "bytes=90000-"
    assert platform.kit.states["unspread"].size == 8_192
    platform.close()


def volumes_asked(log: StandInClearinghouse) -> list[str]:
    return [request.headers["range"] for request in log.requests if "/vol/" in request.url.path]


@pytest.mark.parametrize("breaks_after_bytes", [None, 400_000])
def test_one_request_fetches_a_volume_whose_connection_may_break(
    tmp_path: Path, clearinghouse: StandInClearinghouse, breaks_after_bytes: int | None
) -> None:
    platform = Platform(tmp_path, clearinghouse)
    for stop in range(BLOCK, 5 * BLOCK, BLOCK):
        clearinghouse.pad(stop - len(clearinghouse.rows))
        clearinghouse.publish()
    clearinghouse.bring_together()
    erased = ListingId(3)
    clearinghouse.rows[erased] = clearinghouse.rows[erased].erased()
    clearinghouse.publish(erased=[erased])
    clearinghouse.breaks_after_bytes = breaks_after_bytes
    platform.sync()
    assert platform.kit.states["unspread"].size == 4 * BLOCK
    (volume,) = clearinghouse.public.paths("feed/board/vol/")
    length = clearinghouse.public.length_bytes(volume)
    # The first segment was issued again; the three after it come in one answer.
    (first, *again) = volumes_asked(clearinghouse)
    assert first.endswith(f"-{length - 1}")
    assert not again, "what is left is shorter than what breaks"
    assert len(segments_asked(clearinghouse)) == (1 if breaks_after_bytes is None else 3)
    platform.close()


def test_a_volume_goes_on_where_it_broke(
    tmp_path: Path, clearinghouse: StandInClearinghouse
) -> None:
    platform = Platform(tmp_path, clearinghouse)
    payload, dice = clearinghouse.rows[0].payload, random.Random(2)
    for _ in range(4):
        clearinghouse.rows.extend(
            Entry(clearinghouse.rows[0].kind, dice.randbytes(16) + payload[16:])
            for _ in range(1000)
        )
        clearinghouse.pad(-len(clearinghouse.rows) % BLOCK)
        clearinghouse.publish()
    clearinghouse.bring_together()
    clearinghouse.breaks_after_bytes = 100_000
    platform.sync()
    assert platform.kit.states["unspread"].size == len(clearinghouse.rows)
    (volume,) = clearinghouse.public.paths("feed/board/vol/")
    length = clearinghouse.public.length_bytes(volume)
    assert volumes_asked(clearinghouse) == [
        f"bytes={at}-{length - 1}" for at in range(0, length, 100_000)
    ]
    # A cache that knows no ranges is of no use: nothing is taken, nothing lost.
    clearinghouse.answers[volume] = lambda: httpx.Response(200, content=b"whole")
    other = Platform(tmp_path / "other", clearinghouse)
    with pytest.raises(TransportError, match="200 to a range"):
        other.sync()
    other.close()
    platform.close()


def test_another_scope_is_taken_over_and_what_it_does_not_cover_is_dropped(tmp_path: Path) -> None:
    log = StandInClearinghouse()
    platform = Platform(tmp_path, log)
    unverified = log.protect(picture(1))
    confirmed = log.protect(picture(2), level=Level.CONFIRMED)
    platform.sync()
    assert platform.scan(picture(1)).decision == "refuse"

    def rescoped(*levels: Level) -> None:
        key = log.partners["board"].public_key
        log.partners["board"] = FeedPartner("board", key, Scope(levels=frozenset(levels)))
        log.publish()
        platform.sync()

    def kept(listing_id: ListingId) -> bool:
        listing = platform.kit.store.listing(0, listing_id)
        return listing is not None and bool(listing.fingerprints)

    rescoped(Level.CONFIRMED)
    assert (kept(unverified), kept(confirmed)) == (False, True)
    assert platform.scan(picture(1)).decision == "accept"
    assert platform.scan(picture(2)).decision == "refuse"
    rescoped(Level.CONFIRMED, Level.UNVERIFIED)
    assert (kept(unverified), kept(confirmed)) == (True, True)
    assert platform.scan(picture(1)).decision == "refuse"
    platform.close()
