"""Whatever arrives, a parser of the older programmes raises its one error or gives a value."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspread.errors import InputError, TransportError
from unspread.exchange import ncmec, stopncii, threatexchange, transfer
from unspread.exchange.listings import Caller, Member, Scope
from unspread.model import Kind
from unspread.testing.listings import MemoryListings

NOW = 1_795_000_000
HOME = "http://h/exchange/threatexchange"

PAGES = {
    "ncmec": (
        f'<queryResult xmlns="{ncmec.NAMESPACE}">'
        '<images count="1" maxTimestamp="2026-11-23T05:00:00Z">'
        '<image><member id="1">M</member><id>a</id>'
        f"<fingerprints><pdq>{'5a' * 32}</pdq></fingerprints>"
        '<feedback><affirmativeFeedback type="PDQ"><members><member id="2">N</member></members>'
        "</affirmativeFeedback></feedback></image><deletedImage><member id='1'>M</member><id>b</id>"
        "</deletedImage></images><paging><next>/v2/entries?start=3</next></paging></queryResult>"
    ).encode(),
    "stopncii": json.dumps(
        {
            "count": 1,
            "nextPageToken": "t",
            "nextSetTimestamp": 5,
            "hasMoreRecords": True,
            "hashRecords": [
                {
                    "lastModtimestamp": 4,
                    "signalType": "ImagePDQ",
                    "hashValue": "5a" * 32,
                    "hashStatus": "Active",
                    "caseNumbers": {},
                    "CSPFeedbacks": [{"feedbackValue": "Blocked", "tags": ["é"], "source": "F"}],
                }
            ],
        }
    ).encode(),
    "threatexchange": json.dumps(
        {
            "data": [
                {
                    "indicator": "5a" * 32,
                    "type": "HASH_PDQ",
                    "last_updated": 4,
                    "should_delete": False,
                    "descriptors": {"data": [{"status": "MALICIOUS", "tags": ["é"]}]},
                }
            ],
            "paging": {"next": HOME + "/1/threat_updates/?after=x"},
        }
    ).encode(),
}


def fetch(programme: str) -> transfer.Fetch:
    if programme == "ncmec":
        return ncmec.EntriesFetch(ncmec.Cursor(), now=NOW)
    if programme == "stopncii":
        return stopncii.HashesFetch(
            stopncii.Cursor(), now=NOW, function_key="f", subscription_key="s"
        )
    return threatexchange.UpdatesFetch(threatexchange.Cursor(), now=NOW, base_url=HOME, token="1|s")


@st.composite
def damaged(draw, page: bytes) -> bytes:
    body = bytearray(page)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 12)))
        body[at:end] = draw(st.one_of(st.binary(max_size=6), st.just(bytes(page[at : at + 30]))))
    return bytes(body)


@pytest.mark.parametrize("programme", PAGES)
@settings(max_examples=120, deadline=None)
@given(data=st.data(), status=st.sampled_from([200, 200, 200, 204, 301, 401, 404, 500]))
def test_a_damaged_page_is_read_in_part_or_refused_and_the_place_stays_usable(
    programme, data, status
):
    body = data.draw(damaged(PAGES[programme]))
    fetching = fetch(programme)
    try:
        page = fetching.receive(transfer.Response(status, body))
    except TransportError:
        return
    assert all(not record.is_deleted or not record.fingerprints for record in page.records)
    assert page.cursor
    fetching.request()


@settings(max_examples=120, deadline=None)
@given(st.one_of(st.binary(max_size=200), damaged(ncmec.vote_request("1-1", Kind.PDQ, "x").body)))
def test_a_damaged_vote_is_an_input_error(body):
    with suppress(InputError):
        ncmec.parse_vote(body)


POSTED = json.dumps(
    {
        "hashFeedbacks": [{"hashValue": "5a" * 32, "feedbackValue": "Blocked", "tags": ["é"]}],
        "hashRecords": [{"hashValue": "5a" * 16, "signalType": "VideoMD5", "CSPFeedbacks": []}],
    }
).encode()


@settings(max_examples=120, deadline=None)
@given(damaged(POSTED))
def test_a_damaged_submission_is_an_input_error_or_counts_what_is_whole(body):
    listings = MemoryListings(lambda: NOW)
    caller = Caller(Member(2, "A"), Scope())
    for take in (stopncii.submit_feedback, stopncii.submit_hashes):
        with suppress(InputError):
            assert take(listings, caller, body, datetime.fromtimestamp(NOW, UTC)) in {0, 1}


words = st.one_of(st.text(max_size=20), st.sampled_from(["1970-01-01T00:00:00Z", "10", "MTAuNQ=="]))


@settings(max_examples=120, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "from",
                "to",
                "start",
                "size",
                "max",
                "startTimestamp",
                "pageSize",
                "nextPageToken",
                "start_time",
                "stop_time",
                "limit",
                "types",
                "after",
            ]
        ),
        words,
    )
)
def test_any_query_is_read_or_refused(params):
    for read in (
        lambda: ncmec.EntriesQuery.from_params(params, now=NOW).to_path(),
        lambda: stopncii.HashQuery.from_params(params),
        lambda: threatexchange.UpdatesQuery.from_params(params, now=NOW),
    ):
        with suppress(InputError):
            read()
