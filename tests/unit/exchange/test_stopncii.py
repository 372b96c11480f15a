import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.exchange.conftest import World
from tests.unit.exchange.test_ncmec import apply
from unspread.errors import TransportError
from unspread.exchange import stopncii, transfer
from unspread.exchange.listings import Scope
from unspread.model import FeedbackKind, Kind, Level, Media, Part, Reason, State
from unspread.testing.listings import sample_picture, sample_video


def call(world: World, who=None):
    who = who or world.acme
    client = world.client("/stopncii/v1")
    client.headers.update(stopncii.keys(who.fetch_key, who.subscription_key))
    return client


def fetch(world: World, **params) -> dict:
    answer = call(world).get("/FetchHashes", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(world: World, path: str, body, key: str):
    headers = dict(stopncii.keys(key, world.acme.subscription_key))
    return world.client("/stopncii/v1").post(path, content=json.dumps(body), headers=headers)


def hex_of(prints, part=Part.WHOLE) -> str:
    return next(each.value.hex() for each in prints if each.part is part)


def test_a_record_tells_a_value_and_never_a_case(world):
    picture = sample_picture(world.random, windows=1)
    video = sample_video(world.random)
    world.listings.list_item(picture)
    world.listings.list_item(video, media=Media.VIDEO)
    world.clock.tick(10)
    page = fetch(world)
    assert [(each["signalType"], each["hashValue"]) for each in page["hashRecords"]] == [
        ("ImagePDQ", hex_of(picture)),
        ("ImagePDQ", hex_of(picture, Part.WINDOW)),
        ("VideoMD5", video[-1].value.hex()),
    ]
    assert all(each["caseNumbers"] == {} for each in page["hashRecords"])
    assert all(each["hashStatus"] == "Active" for each in page["hashRecords"])
    assert (page["count"], page["hasMoreRecords"], page["nextPageToken"]) == (3, False, None)


def test_the_level_is_a_tag_of_the_clearinghouse_and_opinions_stand_beside_it(world):
    listing = world.listings.list_item(sample_picture(world.random))
    value = hex_of(world.listings.find(listing).listing.fingerprints)
    body = {"hashFeedbacks": [{"hashValue": value, "feedbackValue": "Blocked", "tags": ["x"]}]}
    assert post(world, "/SubmitFeedback", body, world.acme.feedback_key).json() == {"count": 1}
    world.clock.tick(10)
    [record] = fetch(world)["hashRecords"]
    assert record["CSPFeedbacks"] == [
        {"source": "Clearinghouse", "feedbackValue": "None", "tags": ["confirmed"]},
        {"source": "Acme", "feedbackValue": "Blocked", "tags": []},
    ]


def test_a_withdrawal_is_told_to_those_who_may_have_it_and_to_nobody_else(world):
    listing = world.listings.list_item(sample_picture(world.random))
    world.clock.tick(10)
    start = fetch(world)["nextSetTimestamp"]
    world.listings.withdraw(listing)
    world.clock.tick(10)
    [record] = fetch(world, startTimestamp=start)["hashRecords"]
    assert record["hashStatus"] == "Withdrawn"
    assert fetch(world, startTimestamp=10)["hashRecords"] == []


@pytest.mark.parametrize("state", [State.SUSPENDED, State.EXPIRED, State.REMOVED])
def test_what_ended_otherwise_is_deleted(world, state):
    listing = world.listings.list_item(sample_picture(world.random))
    world.clock.tick(10)
    start = fetch(world)["nextSetTimestamp"]
    world.listings.change(listing, state=state)
    world.clock.tick(10)
    [record] = fetch(world, startTimestamp=start)["hashRecords"]
    assert record["hashStatus"] == "Deleted"


def test_a_value_stays_active_while_one_of_two_people_has_not_withdrawn(world):
    prints = sample_picture(world.random)
    first = world.listings.list_item(prints)
    world.listings.list_item(prints)
    world.clock.tick(10)
    page = fetch(world)
    assert page["count"] == 1
    world.listings.withdraw(first)
    world.clock.tick(10)
    [record] = fetch(world, startTimestamp=page["nextSetTimestamp"])["hashRecords"]
    assert record["hashStatus"] == "Active"


def test_timestamps_are_inclusive_and_a_complete_fetch_is_not_told_twice(world):
    world.listings.list_item(sample_picture(world.random))
    at = int(world.clock())
    world.clock.tick(10)
    assert fetch(world, startTimestamp=at)["count"] == 1
    following = fetch(world)["nextSetTimestamp"]
    assert following == int(world.clock())
    assert fetch(world, startTimestamp=following)["count"] == 0
    assert fetch(world, startTimestamp=following)["nextSetTimestamp"] >= following


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["list", "again", "withdraw", "tick", "page", "stop"]), max_size=60),
    st.integers(1, 4),
)
def test_a_client_ends_with_the_list_whatever_happens_between_its_pages(steps, size):
    world = World()
    held: dict[str, transfer.Record] = {}
    cursor = stopncii.Cursor()
    fetching = None
    active: list[int] = []
    keys = {
        "function_key": world.acme.fetch_key,
        "subscription_key": world.acme.subscription_key,
    }

    def page():
        nonlocal fetching, cursor
        if fetching is None:
            fetching = stopncii.HashesFetch(cursor, now=int(world.clock()), **keys)
        request = fetching.request()
        params = dict(request.params) | {"pageSize": size}
        answer = call(world).get(request.path, params=params)
        got = fetching.receive(transfer.Response(answer.status_code, answer.content))
        apply(held, got)
        assert stopncii.Cursor.from_text(got.cursor).start_at >= cursor.start_at
        cursor = stopncii.Cursor.from_text(got.cursor)
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
            # A client that dies mid-way and goes on from what it has stored.
            fetching = None
    world.clock.tick(10)
    while not page().is_last:
        pass
    while not page().is_last:
        pass
    truth = {
        one.to_text()
        for each in world.listings.listings()
        if each.is_active
        for one in each.fingerprints
        if one.kind is Kind.PDQ
    }
    assert set(held) == truth
    assert page().records == ()


@pytest.mark.parametrize(
    ("word", "tags", "kind", "reason"),
    [
        ("Blocked", [], FeedbackKind.REMOVED, None),
        ("PendingReview", [], FeedbackKind.FOUND, None),
        ("NotBlocked", ["spam"], FeedbackKind.KEPT, Reason.OTHER),
        ("NotBlocked", ["not_intimate"], FeedbackKind.DISPUTED, Reason.NOT_INTIMATE),
        ("NotBlocked", ["public_interest"], FeedbackKind.KEPT, Reason.PUBLIC_INTEREST),
    ],
)
def test_a_feedback_value_becomes_feedback(world, word, tags, kind, reason):
    prints = sample_picture(world.random, windows=1)
    world.listings.list_item(prints)
    value = hex_of(prints, Part.WINDOW)
    feedback = {"hashValue": value, "feedbackValue": word, "tags": tags}
    body = {"count": 1, "hashFeedbacks": [feedback]}
    assert post(world, "/SubmitFeedback", body, world.acme.feedback_key).json() == {"count": 1}
    [(_, said, source)] = world.listings.feedback
    assert (said.kind, said.reason, source) == (kind, reason, "stopncii")


def test_one_bad_feedback_does_not_spoil_the_others(world):
    prints = sample_picture(world.random)
    world.listings.list_item(prints)
    good = {"hashValue": hex_of(prints), "feedbackValue": "Blocked", "tags": []}
    bad = [
        {"hashValue": "zz", "feedbackValue": "Blocked", "tags": []},
        {"hashValue": "00" * 32, "feedbackValue": "Blocked", "tags": []},
        {"hashValue": 3, "feedbackValue": "Blocked"},
        {"feedbackValue": "Blocked"},
        good | {"feedbackValue": "QualityUnknown"},
        None,
    ]
    body = {"hashFeedbacks": [*bad, good]}
    assert post(world, "/SubmitFeedback", body, world.acme.feedback_key).json() == {"count": 1}
    assert len(world.listings.feedback) == 1


@pytest.mark.parametrize("spelling", ["ImagePDQ", "StopNCIISignalType.ImagePDQ"])
def test_a_submitted_hash_is_listed_unverified_in_either_spelling(world, spelling):
    record = {"lastModtimestamp": 1, "signalType": spelling, "hashValue": "5a" * 32}
    body = {"count": 1, "hashRecords": [record | {"CSPFeedbacks": []}]}
    assert post(world, "/SubmitHashes", body, world.acme.submit_key).json() == {"count": 1}
    [listing] = world.listings.listings()
    assert (listing.level, listing.media) == (Level.UNVERIFIED, Media.IMAGE)
    assert listing.fingerprints[0].value.hex() == "5a" * 32
    # Sent again it is on the list already: it counts as what the platform says of it.
    said = {"feedbackValue": "Blocked", "tags": []}
    body = {"hashRecords": [record | {"CSPFeedbacks": [said]}]}
    assert post(world, "/SubmitHashes", body, world.acme.submit_key).json() == {"count": 1}
    assert len(world.listings.listings()) == 1
    assert [said.kind for _, said, _ in world.listings.feedback] == [FeedbackKind.REMOVED]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("URL", "5a" * 32), ("ImagePDQ", "5a" * 16), ("VideoMD5", "5a" * 32), ("VideoTMK", "5a")],
)
def test_a_submitted_hash_of_another_kind_is_left_out(world, kind, value):
    body = {"hashRecords": [{"signalType": kind, "hashValue": value}]}
    assert post(world, "/SubmitHashes", body, world.acme.submit_key).json() == {"count": 0}
    assert world.listings.listings() == []


def test_each_function_key_opens_its_function_only(world):
    acme = world.acme
    assert post(world, "/SubmitFeedback", {}, acme.fetch_key).status_code == 403
    assert post(world, "/SubmitHashes", {}, acme.feedback_key).status_code == 403
    client = world.client("/stopncii/v1")
    for pair in (
        (acme.feedback_key, acme.subscription_key),
        (acme.fetch_key, ""),
        (acme.subscription_key, acme.subscription_key),
        (acme.fetch_key, world.partner("beta").subscription_key),
    ):
        answer = client.get("/FetchHashes", headers=dict(stopncii.keys(*pair)))
        assert answer.status_code in {401, 403}
        assert answer.json()["statusCode"] == answer.status_code


@pytest.mark.parametrize(
    "params",
    [
        {"startTimestamp": "x"},
        {"startTimestamp": "-1"},
        {"pageSize": "1.5"},
        {"nextPageToken": "%%%"},
        {"nextPageToken": "QUJD"},
    ],
)
def test_a_malformed_query_is_refused(world, params):
    assert call(world).get("/FetchHashes", params=params).status_code == 400


@pytest.mark.parametrize("body", ["", "[]", "3", '{"hashFeedbacks": 3}', "{" * 5000])
def test_a_malformed_document_is_refused(world, body):
    headers = dict(stopncii.keys(world.acme.feedback_key, world.acme.subscription_key))
    answer = world.client("/stopncii/v1").post("/SubmitFeedback", content=body, headers=headers)
    assert answer.status_code == 400


def test_parts_of_pictures_are_told_only_to_who_asks_for_them(world):
    narrow = world.partner("narrow", Scope())
    world.listings.list_item(sample_picture(world.random, windows=5))
    world.clock.tick(10)
    assert call(world, narrow).get("/FetchHashes").json()["count"] == 1


def test_a_key_limited_to_levels_is_told_a_value_when_it_reaches_one(world):
    careful = world.partner("careful", Scope(levels=frozenset({Level.CONFIRMED})))
    listing = world.listings.list_item(sample_picture(world.random))
    world.clock.tick(10)
    assert call(world, careful).get("/FetchHashes").json()["count"] == 0
    world.listings.change(listing, level=Level.CONFIRMED)
    world.clock.tick(10)
    [record] = call(world, careful).get("/FetchHashes").json()["hashRecords"]
    assert record["hashStatus"] == "Active"


# --- our client ---------------------------------------------------------------------------------

RECORD = {
    "lastModtimestamp": 5,
    "signalType": "ImagePDQ",
    "hashValue": "5a" * 32,
    "hashStatus": "Active",
    "caseNumbers": {},
    "CSPFeedbacks": [{"source": "F", "feedbackValue": "Blocked", "tags": ["Nude"]}],
}


def reading(cursor=None, now=1_000):
    return stopncii.HashesFetch(
        cursor or stopncii.Cursor(10, now), now=now, function_key="f", subscription_key="s"
    )


def page_of(*records, following=None, at=20) -> transfer.Response:
    page = {
        "count": len(records),
        "nextPageToken": following,
        "nextSetTimestamp": at,
        "hasMoreRecords": following is not None,
        "hashRecords": list(records),
    }
    return transfer.Response(200, json.dumps(page).encode())


def test_our_client_honours_a_withdrawal():
    gone = RECORD | {"hashStatus": "Withdrawn", "caseNumbers": []}
    other = RECORD | {"hashStatus": "Deleted", "hashValue": "a5" * 32, "CSPFeedbacks": None}
    page = reading().receive(page_of(RECORD, gone, other))
    assert [each.is_deleted for each in page.records] == [False, True, True]
    assert page.records[0].key == page.records[1].key
    assert (page.records[0].labels, page.records[0].agreeing) == (("Nude",), 1)


@pytest.mark.parametrize(
    "bad",
    [
        RECORD | {"hashValue": "5a"},
        RECORD | {"hashValue": None},
        {"signalType": "ImagePDQ"},
        "text",
    ],
)
def test_a_bad_record_is_counted_and_spoils_nothing_else(bad):
    page = reading().receive(page_of(bad, RECORD, RECORD | {"signalType": "Text"}))
    assert (len(page.records), page.skipped) == (1, 1)


def test_the_token_goes_with_the_timestamp_that_the_reading_began_with():
    fetching = reading()
    first = fetching.receive(page_of(RECORD, following="abc", at=99))
    assert dict(fetching.request().params) == {
        "startTimestamp": "10",
        "pageSize": "800",
        "nextPageToken": "abc",
    }
    assert stopncii.Cursor.from_text(first.cursor).start_at == 99
    assert not first.is_last
    last = fetching.receive(page_of(at=50))
    # Never back: the programme's own clients insist.
    assert stopncii.Cursor.from_text(last.cursor).start_at == 99
    assert last.is_last
    assert fetching.request() is None


def test_after_thirty_days_away_everything_is_read_again():
    late = reading(stopncii.Cursor(500, 1_000), now=1_001 + stopncii.STALE_AFTER_SECONDS)
    assert dict(late.request().params)["startTimestamp"] == "10"
    first = late.receive(page_of(RECORD, following="abc"))
    assert first.reads_all
    # Interrupted, it stays a reading of everything, to its last page.
    again = reading(
        stopncii.Cursor.from_text(first.cursor), now=2_000 + stopncii.STALE_AFTER_SECONDS
    )
    last = again.receive(page_of(RECORD))
    assert last.reads_all
    assert not stopncii.Cursor.from_text(last.cursor).reads_all


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"nextSetTimestamp": "5", "hasMoreRecords": false}',
        b'{"nextSetTimestamp": 5, "hasMoreRecords": true}',
    ],
)
def test_a_page_without_its_place_is_an_error(body):
    with pytest.raises(TransportError):
        reading().receive(transfer.Response(200, body))
