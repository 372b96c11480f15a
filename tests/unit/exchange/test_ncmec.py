from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.unit.exchange.conftest import World
from unspread.errors import InputError, TransportError
from unspread.exchange import ncmec, transfer
from unspread.exchange.listings import Caller, Scope, UnknownListingError
from unspread.model import Age, FeedbackKind, Kind, Level, Media, Reason, State
from unspread.testing.listings import sample_picture, sample_video

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parents[3] / "vectors" / "ncmec-v2.xsd"))


def valid(body: bytes):
    document = etree.fromstring(body)
    SCHEMA.assertValid(document)
    return document


def everything(world: World, cursor: str = "", who=None) -> tuple[dict[str, transfer.Record], str]:
    """A copy of the list as our own client keeps it."""
    held: dict[str, transfer.Record] = {}
    fetch = ncmec.EntriesFetch(ncmec.Cursor.from_text(cursor), now=int(world.clock()))
    with world.ncmec(who) as client:
        for page in transfer.follow(client, fetch):
            apply(held, page)
            cursor = page.cursor
    return held, cursor


def apply(held, page):
    for record in page.records:
        if record.is_deleted:
            held.pop(record.key, None)
        else:
            held[record.key] = record


def query(world: World, **params) -> bytes:
    answer = world.ncmec().get(
        "/v2/entries", params={"to": ncmec.time_text(int(world.clock()) - 5), **params}
    )
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_picture_is_one_entry_with_its_digest_and_one_more_for_each_window(world):
    listing = world.listings.list_item(sample_picture(world.random, windows=2))
    world.clock.tick(10)
    document = valid(query(world))
    names = [each.text for each in document.iterfind(".//{*}id")]
    assert names == [f"{listing}", f"{listing}-1", f"{listing}-2"]
    assert len(document.findall(".//{*}pdq")) == 3
    assert len(document.findall(".//{*}md5")) == 1
    assert document.find("{*}images").get("count") == "3"
    labels = [each.text for each in document.iterfind(".//{*}classification")]
    assert labels == ["unverified", "unverified part", "unverified part"]


def test_a_video_gives_its_digest_inline_and_its_frames_behind_an_address(world):
    prints = sample_video(world.random, frames=5)
    world.listings.list_item(prints, media=Media.VIDEO)
    world.clock.tick(10)
    document = valid(query(world))
    assert document.findtext(".//{*}videos//{*}md5") == prints[-1].value.hex()
    link = document.find(".//{*}pdq-frames")
    answer = world.ncmec().get(link.get("href"))
    assert answer.content == b"".join(each.value for each in prints[:5])


def test_a_withdrawal_is_a_tombstone_for_every_entry_even_after_the_fingerprints_are_gone(world):
    listing = world.listings.list_item(sample_picture(world.random, windows=2))
    video = world.listings.list_item(sample_video(world.random), media=Media.VIDEO)
    world.clock.tick(10)
    held, cursor = everything(world)
    assert len(held) == 4
    world.listings.withdraw(listing)
    world.listings.withdraw(video)
    world.listings.erase(listing)
    world.clock.tick(10)
    document = valid(query(world))
    assert len(document.findall(".//{*}deletedImage")) == 3
    assert len(document.findall(".//{*}deletedVideo")) == 1
    assert not document.findall(".//{*}fingerprints")
    fetch = ncmec.EntriesFetch(ncmec.Cursor.from_text(cursor), now=int(world.clock()))
    for page in transfer.follow(world.ncmec(), fetch):
        apply(held, page)
    assert held == {}


@pytest.mark.parametrize("state", [State.SUSPENDED, State.EXPIRED, State.REMOVED, State.WITHDRAWN])
def test_whatever_is_not_active_is_a_deletion_to_these_clients(world, state):
    listing = world.listings.list_item(sample_picture(world.random))
    world.listings.change(listing, state=state)
    world.clock.tick(10)
    assert len(valid(query(world)).findall(".//{*}deletedImage")) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["list", "withdraw", "dispute", "tick", "page", "window"])),
        max_size=60,
    ),
    st.integers(1, 4),
    st.sampled_from([Scope(windows=True), Scope(ages=frozenset({Age.MINOR}), windows=True)]),
)
def test_a_client_ends_with_the_list_whatever_happens_between_its_pages(steps, size, scope):
    world = World()
    reader = world.partner("reader", scope)
    held: dict[str, transfer.Record] = {}
    cursor = ncmec.Cursor()
    fetch = ncmec.EntriesFetch(cursor, now=int(world.clock()))
    active: list[int] = []

    def page():
        nonlocal fetch, cursor
        request = fetch.request()
        if request is None:
            # A client that starts again from what it has stored.
            fetch = ncmec.EntriesFetch(cursor, now=int(world.clock()))
            request = fetch.request()
            if request is None:
                return False
        params = dict(request.params) | ({} if "?" in request.path else {"size": str(size)})
        answer = world.ncmec(reader).get(request.path, params=params or None)
        got = fetch.receive(transfer.Response(answer.status_code, answer.content))
        for record in got.records:
            before = held.get(record.key)
            # Never told twice what it has, unless something about it changed in between.
            assert record.is_deleted or before is None or before.labels != record.labels
        apply(held, got)
        cursor = ncmec.Cursor.from_text(got.cursor)
        return True

    for (step,) in steps:
        age = world.random.choice([Age.MINOR, Age.ADULT])
        if step == "list":
            active.append(world.listings.list_item(sample_picture(world.random), age=age))
        elif step == "window":
            prints = sample_picture(world.random, windows=1)
            active.append(world.listings.list_item(prints, age=age))
        elif step == "withdraw" and active:
            world.listings.withdraw(active.pop(world.random.randrange(len(active))))
        elif step == "dispute" and active:
            listing = world.random.choice(active)
            if world.listings.find(listing).listing.level is Level.UNVERIFIED:
                world.listings.change(listing, level=Level.DISPUTED)
        elif step == "tick":
            world.clock.tick(world.random.choice([0, 1, 3, 20]))
        else:
            page()
    world.clock.tick(10)
    while page():
        pass
    truth = {
        f"1-{ncmec.entry_id(each.listing_id, number)}"
        for each in world.listings.listings()
        if each.is_active and each.age in scope.ages
        for number in range(sum(one.kind is Kind.PDQ for one in each.fingerprints))
    }
    assert set(held) == truth


def test_a_next_link_still_works_twelve_hours_and_many_changes_later(world):
    listed = [world.listings.list_item(sample_picture(world.random)) for _ in range(5)]
    world.clock.tick(10)
    first = valid(query(world, size="2"))
    link = first.findtext(".//{*}next")
    assert urlsplit(link).path == "/v2/entries"
    world.listings.withdraw(listed[4])
    for _ in range(5):
        world.listings.list_item(sample_picture(world.random))
    world.clock.tick(12 * 3600)
    rest = valid(world.ncmec().get(link).content)
    assert [each.text for each in rest.iterfind(".//{*}id")] == [str(listed[2]), str(listed[3])]


def test_every_answer_follows_the_documented_schema(world):
    client = world.ncmec()
    for path in ("/v2/status", "/v2/members", "/v2/feedback/PDQ/reasons"):
        valid(client.get(path).content)
    assert client.get("/v2/status").text.count("<member ") == 1
    valid(query(world))
    listing = world.listings.list_item(sample_picture(world.random))
    said = client.put(f"/v2/entries/1/{listing}/PDQ/feedback", content=yes())
    valid(said.content)
    for who, reason in (("beta", Reason.NOT_INTIMATE), ("gamma", Reason.PUBLIC_INTEREST)):
        other = world.ncmec(world.partner(who))
        assert other.put(f"/v2/entries/1/{listing}/PDQ/feedback", content=no(reason)).is_success
    world.clock.tick(10)
    document = valid(query(world))
    assert [each.text for each in document.iterfind(".//{*}affirmativeFeedback//{*}member")] == [
        "Acme"
    ]
    reasons = [each.get("name") for each in document.iterfind(".//{*}negativeFeedback//{*}reason")]
    assert reasons == ["not intimate", "public interest"]
    valid(world.ncmec().get("/v2/entries", params={"from": "yesterday"}).content)


def yes() -> bytes:
    request = ncmec.vote_request("1-0", Kind.PDQ, None)
    etree.fromstring(request.body)
    return request.body


def no(reason: Reason) -> bytes:
    return ncmec.vote_request("1-0", Kind.PDQ, ncmec.REASON_IDS[reason]).body


@pytest.mark.parametrize(
    ("body", "kind", "reason", "level"),
    [
        (yes(), FeedbackKind.REMOVED, None, Level.CONFIRMED),
        (
            no(Reason.DIFFERENT_CONTENT),
            FeedbackKind.DISPUTED,
            Reason.DIFFERENT_CONTENT,
            Level.DISPUTED,
        ),
        (no(Reason.LAWFUL_ORDER), FeedbackKind.KEPT, Reason.LAWFUL_ORDER, Level.UNVERIFIED),
    ],
)
def test_a_vote_becomes_feedback_and_moves_the_level(world, body, kind, reason, level):
    listing = world.listings.list_item(sample_picture(world.random, windows=1))
    answer = world.ncmec().put(f"/v2/entries/1/{listing}-1/PDQ/feedback", content=body)
    assert answer.status_code == 200
    [(member, said, source)] = world.listings.feedback
    assert (member.name, said.kind, said.reason, source) == ("Acme", kind, reason, "ncmec")
    assert world.listings.find(listing).listing.level is level


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<feedbackSubmission/>", id="no vote"),
        pytest.param(b"<feedbackSubmission><negative/></feedbackSubmission>", id="no reason"),
        pytest.param(
            b"<feedbackSubmission><negative><reasonIds><guid>x</guid></reasonIds></negative>"
            b"</feedbackSubmission>",
            id="unknown reason",
        ),
        pytest.param(
            b"<feedbackSubmission><affirmative/><affirmative/></feedbackSubmission>", id="two votes"
        ),
        pytest.param(
            b'<!DOCTYPE a [<!ENTITY b "c">]><feedbackSubmission><affirmative/>'
            b"</feedbackSubmission>",
            id="a document type",
        ),
        pytest.param(b"<a>" * 30_000, id="too deep"),
    ],
)
def test_what_is_no_vote_is_refused(world, body):
    listing = world.listings.list_item(sample_picture(world.random))
    answer = world.ncmec().put(f"/v2/entries/1/{listing}/PDQ/feedback", content=body)
    assert answer.status_code == 400
    valid(answer.content)
    assert world.listings.feedback == []


@pytest.mark.parametrize("name", ["99", "x", "1-x", "-1", "٣", "9" * 30])
def test_a_vote_on_nothing_is_not_found(world, name):
    answer = world.ncmec().put(f"/v2/entries/1/{name}/PDQ/feedback", content=yes())
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-11-23"},
        {"to": "2026-11-23T05:00:00.000Z"},
        {"start": "-1"},
        {"start": "1e3"},
        {"size": "9" * 40},
    ],
)
def test_a_malformed_range_is_refused(world, params):
    assert world.ncmec().get("/v2/entries", params=params).status_code == 400


def test_a_client_whose_clock_is_ahead_is_told_so_instead_of_losing_what_comes_next(world):
    ahead = ncmec.time_text(int(world.clock() + 5.5 * 3600))
    answer = world.ncmec().get("/v2/entries", params={"to": ahead})
    assert answer.status_code == 400
    assert "TZ=UTC" in answer.text


def test_a_range_into_the_running_second_is_answered_when_that_second_is_over(world):
    caller = Caller(world.acme.member)
    now = int(world.clock())
    world.listings.list_item(sample_picture(world.random))
    with pytest.raises(ncmec.NotSettledError):
        ncmec.entries(world.listings, caller, ncmec.EntriesQuery(0, now))
    world.clock.tick()
    assert ncmec.entries(world.listings, caller, ncmec.EntriesQuery(0, now)).entries == 1


def test_a_partner_sees_only_what_its_scope_allows(world):
    scope = Scope(ages=frozenset({Age.MINOR}), levels=frozenset({Level.CONFIRMED}))
    narrow = world.partner("narrow", scope)
    minor = world.listings.list_item(sample_picture(world.random, windows=3), age=Age.MINOR)
    adult = world.listings.list_item(sample_picture(world.random), age=Age.ADULT)
    world.clock.tick(10)
    held, cursor = everything(world, who=narrow)
    assert held == {}
    world.listings.change(minor, level=Level.CONFIRMED)
    world.listings.change(adult, level=Level.CONFIRMED)
    world.clock.tick(10)
    held, _ = everything(world, cursor, who=narrow)
    assert set(held) == {f"1-{minor}"}
    client = world.ncmec(narrow)
    assert client.put(f"/v2/entries/1/{adult}/PDQ/feedback", content=yes()).status_code == 404
    caller = Caller(narrow.member, scope)
    with pytest.raises(UnknownListingError):
        ncmec.large_fingerprint(world.listings, caller, str(adult), ncmec.FRAMES_TYPE)


# --- our client ---------------------------------------------------------------------------------

PDQ = "ab" * 32
ENTRY = (
    '<image><member id="42">M</member><timestamp>2017-10-24T15:00:00Z</timestamp><id>i1</id>'
    f"<classification>A1</classification><fingerprints><pdq>{PDQ.upper()}</pdq><pdna>zz</pdna>"
    '<tmk-pdqf rel="self" href="/v2/x"/></fingerprints></image>'
)


def page_of(*entries: str, following: str = "") -> bytes:
    paging = f"<paging><next>{following}</next></paging>" if following else ""
    return (
        f'<queryResult xmlns="{ncmec.NAMESPACE}"><images count="1" '
        f'maxTimestamp="2017-10-24T15:10:00Z">{"".join(entries)}</images>{paging}</queryResult>'
    ).encode()


def test_our_client_reads_what_it_knows_of_an_entry_and_leaves_the_rest():
    [record], following, skipped = ncmec.parse_entries(page_of(ENTRY))
    assert (record.key, record.labels, following, skipped) == ("42-i1", ("A1",), "", 0)
    assert [each.to_text() for each in record.fingerprints] == [f"pdq:{PDQ}"]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(ENTRY.replace('id="42"', 'id="x"'), id="member is no number"),
        pytest.param(ENTRY.replace('<member id="42">M</member>', ""), id="no member"),
        pytest.param(ENTRY.replace("<id>i1</id>", ""), id="no id"),
        pytest.param(ENTRY.replace(PDQ.upper(), "ab"), id="short pdq"),
        pytest.param("<audio/>", id="unknown medium"),
    ],
)
def test_a_bad_entry_is_counted_and_spoils_nothing_else(bad):
    records, _, skipped = ncmec.parse_entries(page_of(bad, ENTRY))
    assert (len(records), skipped) == (1, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html/>",
        page_of(ENTRY)[:-9],
        page_of(ENTRY, following="https://elsewhere.example/v2/entries?x"),
        b'<?xml version="1.0" encoding="none"?><queryResult/>',
    ],
)
def test_a_page_that_cannot_be_trusted_as_a_whole_is_an_error_and_moves_nothing(body):
    fetch = ncmec.EntriesFetch(ncmec.Cursor(), now=10_000)
    before = fetch.request()
    with pytest.raises(TransportError):
        fetch.receive(transfer.Response(200, body))
    assert fetch.request() == before


def test_the_cursor_moves_only_when_a_range_is_read_and_a_page_can_be_resumed_for_12_hours():
    fetch = ncmec.EntriesFetch(ncmec.Cursor(100), now=100_000)
    fetch.request()
    link = "/v2/entries?start=2"
    half = fetch.receive(transfer.Response(200, page_of(ENTRY, following=link)))
    cursor = ncmec.Cursor.from_text(half.cursor)
    assert (cursor.read_until, cursor.next_path, half.is_last) == (100, link, False)

    resumed = ncmec.EntriesFetch(cursor, now=100_000 + 12 * 3600)
    assert resumed.request() == transfer.Request("GET", link)
    done = resumed.receive(transfer.Response(200, page_of(ENTRY)))
    # The range ends where it did when it was begun, not at the moment of resuming.
    assert ncmec.Cursor.from_text(done.cursor) == ncmec.Cursor(100_000 - ncmec.SAFETY_SECONDS)

    late = ncmec.EntriesFetch(cursor, now=100_001 + 12 * 3600)
    assert ("from", "1970-01-01T00:01:40Z") in late.request().params


def test_a_link_that_died_early_starts_its_range_again():
    cursor = ncmec.Cursor(100, 5_000, "/v2/entries?start=2", 10_000)
    fetch = ncmec.EntriesFetch(cursor, now=10_001)
    page = fetch.receive(transfer.Response(410, b""))
    assert (page.records, ncmec.Cursor.from_text(page.cursor)) == ((), ncmec.Cursor(100))


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 302])
def test_a_refusal_is_a_transport_error(status):
    fetch = ncmec.EntriesFetch(ncmec.Cursor(), now=10_000)
    with pytest.raises(TransportError):
        fetch.receive(transfer.Response(status, b""))


@given(st.integers(0, 4_000_000_000))
def test_times_are_whole_seconds_in_utc(at):
    assert ncmec.time_stamp(ncmec.time_text(at)) == at
    assert ncmec.time_text(at) == datetime.fromtimestamp(at, UTC).isoformat()[:19] + "Z"


def test_a_cursor_is_refused_unless_it_is_ours():
    assert ncmec.Cursor.from_text("") == ncmec.Cursor()
    for text in ("{", "[]", '{"start_at": 3}', '{"read_until": "3"}'):
        with pytest.raises(InputError):
            ncmec.Cursor.from_text(text)
