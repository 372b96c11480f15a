import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.exchange.conftest import BASE, World
from tests.unit.exchange.test_ncmec import apply
from unspread.errors import TransportError
from unspread.exchange import threatexchange, transfer
from unspread.model import FeedbackKind, Kind, Level, Media, Reason
from unspread.testing.listings import sample_picture, sample_video

HOME = BASE + "/exchange/threatexchange"


def updates(world: World, **params) -> dict:
    answer = world.client("/threatexchange").get(
        "/1/threat_updates/", params={"access_token": world.acme.token, **params}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def react(world: World, descriptor: str, reaction: str, token: str | None = None):
    params = {"access_token": token or world.acme.token, "reactions": reaction}
    return world.client("/threatexchange").post(f"/{descriptor}/", params=params)


def test_pictures_give_pdq_and_md5_and_videos_md5(world):
    picture = sample_picture(world.random)
    video = sample_video(world.random)
    world.listings.list_item(picture)
    world.listings.list_item(video, media=Media.VIDEO)
    world.clock.tick(10)
    assert [(each["type"], each["indicator"]) for each in updates(world)["data"]] == [
        ("HASH_PDQ", picture[0].value.hex()),
        ("HASH_MD5", picture[-1].value.hex()),
        ("HASH_VIDEO_MD5", video[-1].value.hex()),
    ]
    only = updates(world, types="HASH_PDQ")["data"]
    assert [each["type"] for each in only] == ["HASH_PDQ"]


@pytest.mark.parametrize(
    ("level", "status"),
    [
        (Level.UNVERIFIED, "UNKNOWN"),
        (Level.CONFIRMED, "MALICIOUS"),
        (Level.CORROBORATED, "MALICIOUS"),
        (Level.DISPUTED, "SUSPICIOUS"),
    ],
)
def test_the_status_says_how_far_a_listing_is_corroborated(world, level, status):
    world.listings.list_item(sample_picture(world.random), level=level)
    world.clock.tick(10)
    [descriptor] = updates(world)["data"][0]["descriptors"]["data"]
    assert descriptor["status"] == status
    assert [each["text"] for each in descriptor["tags"]["data"]] == ["media_type_photo", level]


def test_an_answer_is_never_empty_because_the_published_client_takes_that_for_a_fault(world):
    assert [each["should_delete"] for each in updates(world)["data"]] == [True]
    world.listings.list_item(sample_picture(world.random))
    world.clock.tick(10)
    at = updates(world)["data"][0]["last_updated"]
    assert all(not each["should_delete"] for each in updates(world, start_time=at)["data"])


def test_a_withdrawal_is_told_to_those_who_may_have_it_and_to_nobody_else(world):
    listing = world.listings.list_item(sample_picture(world.random))
    at = int(world.clock())
    world.clock.tick(10)
    world.listings.withdraw(listing)
    world.clock.tick(10)
    told = updates(world, start_time=at)["data"]
    assert [each["should_delete"] for each in told] == [True, True]
    assert [each["indicator"] for each in updates(world)["data"]] == [""]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["list", "again", "withdraw", "tick", "page", "stop"]), max_size=60),
    st.integers(1, 4),
)
def test_a_client_ends_with_the_list_whatever_happens_between_its_pages(steps, size):
    world = World()
    held: dict[str, transfer.Record] = {}
    cursor = threatexchange.Cursor()
    fetching = None
    active: list[int] = []

    def page():
        nonlocal fetching, cursor
        if fetching is None:
            fetching = threatexchange.UpdatesFetch(
                cursor, now=int(world.clock()), base_url=HOME, token=world.acme.token
            )
        request = fetching.request()
        params = dict(request.params) | {"limit": size}
        answer = world.client("/threatexchange").get(request.path, params=params)
        if answer.status_code == 503:
            world.clock.tick()
            return page()
        got = fetching.receive(transfer.Response(answer.status_code, answer.content))
        apply(held, got)
        cursor = threatexchange.Cursor.from_text(got.cursor)
        if got.is_last:
            fetching = None
        return got

    for step in steps:
        if step == "list":
            active.append(world.listings.list_item(sample_picture(world.random, windows=1)))
        elif step == "again" and active:
            same = world.listings.find(world.random.choice(active)).listing.fingerprints
            active.append(world.listings.list_item(same))
        elif step == "withdraw" and active:
            world.listings.withdraw(active.pop(world.random.randrange(len(active))))
        elif step == "tick":
            world.clock.tick(world.random.choice([0, 1, 3, 20]))
        elif step == "page":
            page()
        elif step == "stop":
            fetching = None
    world.clock.tick(10)
    while not page().is_last:
        pass
    while not page().is_last:
        pass
    names = {Kind.PDQ: "HASH_PDQ", Kind.MD5: "HASH_MD5"}
    truth = {
        f"{names[one.kind]}:{one.value.hex()}"
        for each in world.listings.listings()
        if each.is_active
        for one in each.fingerprints
        if one.kind in names
    }
    assert set(held) == truth


def test_the_next_link_is_absolute_and_needs_nothing_added(world):
    for _ in range(3):
        world.listings.list_item(sample_picture(world.random))
    world.clock.tick(10)
    link = updates(world, limit=2, fields="id,type")["paging"]["next"]
    parts = urlsplit(link)
    assert link.startswith(HOME + "/1/threat_updates/?")
    assert parse_qs(parts.query)["access_token"] == [world.acme.token]
    rest = world.client("/threatexchange").get(link).json()
    assert "paging" not in rest
    assert len(rest["data"]) == 2


@pytest.mark.parametrize(
    ("reaction", "kind", "reason", "level"),
    [
        ("SAW_THIS_TOO", FeedbackKind.FOUND, None, Level.UNVERIFIED),
        ("HELPFUL", FeedbackKind.REMOVED, None, Level.CONFIRMED),
        ("NOT_HELPFUL", FeedbackKind.DISPUTED, Reason.OTHER, Level.DISPUTED),
        ("DISAGREE_WITH_TAGS", FeedbackKind.DISPUTED, Reason.DIFFERENT_CONTENT, Level.DISPUTED),
    ],
)
def test_a_reaction_becomes_feedback_and_moves_the_level(world, reaction, kind, reason, level):
    listing = world.listings.list_item(sample_picture(world.random))
    world.clock.tick(10)
    descriptor = updates(world)["data"][0]["descriptors"]["data"][0]["id"]
    assert react(world, descriptor, reaction).json() == {"success": True}
    [(_, said, source)] = world.listings.feedback
    assert (said.listing_id, said.kind, said.reason, source) == (
        listing,
        kind,
        reason,
        "threatexchange",
    )
    assert world.listings.find(listing).listing.level is level
    world.clock.tick(10)
    [shown] = updates(world)["data"][0]["descriptors"]["data"]
    assert shown["reactions"][0]["value"] == str(threatexchange.app_id(world.acme.member.number))
    assert len(shown["my_reactions"]) == 1


@pytest.mark.parametrize(
    ("descriptor", "reaction", "status"),
    [
        ("1125899906842699", "HELPFUL", 404),
        ("5", "HELPFUL", 404),
        ("x", "HELPFUL", 400),
        ("1125899906842624", "LOVE", 400),
        ("1125899906842624", "", 400),
    ],
)
def test_a_reaction_to_nothing_or_of_no_kind_is_refused(world, descriptor, reaction, status):
    world.listings.list_item(sample_picture(world.random))
    answer = react(world, descriptor, reaction)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status


@pytest.mark.parametrize(
    "params",
    [
        {"start_time": "x"},
        {"limit": "-1"},
        {"after": "%%"},
        {"after": "QUJD"},
        {"stop_time": "99999999999"},
    ],
)
def test_a_malformed_query_is_refused(world, params):
    client = world.client("/threatexchange")
    query = {"access_token": world.acme.token, **params}
    assert client.get("/1/threat_updates/", params=query).status_code == 400


def test_there_is_one_privacy_group(world):
    client = world.client("/threatexchange")
    token = {"access_token": world.acme.token}
    assert client.get("/2/threat_updates/", params=token).status_code == 404
    assert client.get("/2", params=token).status_code == 404
    [group] = client.get("/9/threat_privacy_groups_member", params=token).json()["data"]
    assert client.get("/1", params=token).json() == group


# --- our client ---------------------------------------------------------------------------------

UPDATE = {
    "id": "7",
    "indicator": "5a" * 32,
    "type": "HASH_PDQ",
    "last_updated": 50,
    "should_delete": False,
    "descriptors": {
        "data": [
            {
                "id": "8",
                "owner": {"id": "9"},
                "status": "MALICIOUS",
                "tags": {"data": [{"id": "1", "text": "ncii"}]},
                "reactions": [{"key": "DISAGREE_WITH_TAGS", "value": "3,4"}],
            }
        ]
    },
}


def reading(cursor=None, now=1_000):
    return threatexchange.UpdatesFetch(
        cursor or threatexchange.Cursor(10, now), now=now, base_url=HOME, token="1|s"
    )


def page_of(*data, following=None) -> transfer.Response:
    body = {"data": list(data)} | ({"paging": {"next": following}} if following else {})
    return transfer.Response(200, json.dumps(body).encode())


def test_our_client_reads_opinions_and_deletions():
    no_descriptors = {key: UPDATE[key] for key in UPDATE if key != "descriptors"}
    video = UPDATE | {"type": "HASH_MD5", "indicator": "5a" * 16}
    video["descriptors"] = {"data": [{"status": "UNKNOWN", "tags": ["media_type_video"]}]}
    page = reading().receive(
        page_of(UPDATE, UPDATE | {"should_delete": True}, no_descriptors, video)
    )
    first, deleted, also_deleted, film = page.records
    assert (first.labels, first.agreeing, first.disagreeing) == (("ncii",), 1, 2)
    assert [deleted.is_deleted, also_deleted.is_deleted] == [True, True]
    assert deleted.key == first.key
    assert film.media is Media.VIDEO
    assert threatexchange.Cursor.from_text(page.cursor).updated_at == 50


@pytest.mark.parametrize(
    "bad", [UPDATE | {"indicator": "zz"}, UPDATE | {"last_updated": "soon"}, {}, 3]
)
def test_a_bad_update_is_counted_and_spoils_nothing_else(bad):
    page = reading().receive(page_of(bad, UPDATE, UPDATE | {"type": "URI"}))
    assert (len(page.records), page.skipped) == (1, 1)


def test_the_key_is_sent_nowhere_else_and_stored_in_no_cursor():
    fetching = reading()
    for elsewhere in ("https://elsewhere.example/1/threat_updates/?a", HOME + ".example/1?a"):
        with pytest.raises(TransportError):
            fetching.receive(page_of(UPDATE, following=elsewhere))
    page = fetching.receive(page_of(UPDATE, following=f"{HOME}/1/threat_updates/?after=x&b=c%20d"))
    assert fetching.request() == transfer.Request(
        "GET", "/1/threat_updates/", (("after", "x"), ("b", "c d"))
    )
    assert "1|s" not in page.cursor
    assert "1|s" not in repr(reading().request())


def test_after_85_days_away_everything_is_read_again():
    stale = 1_001 + threatexchange.STALE_AFTER_SECONDS
    late = reading(threatexchange.Cursor(500, 1_000), now=stale)
    assert dict(late.request().params)["start_time"] == "0"
    assert late.receive(page_of(UPDATE)).reads_all
