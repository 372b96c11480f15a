"""NCMEC's, StopNCII's and ThreatExchange's lists, followed as ours are."""

import asyncio
import json
import time
from datetime import datetime, timedelta

import httpx
import pytest

from tests.unit.platform_kit.conftest import Platform
from tests.unit.platform_kit.test_following import altered, picture
from unspread.errors import TransportError
from unspread.fingerprint import fingerprint_image
from unspread.model import Kind, Level, Reason
from unspread.platform_kit.programmes import Credentials, ProgrammeSync, credentials_from
from unspread.platform_kit.settings import (
    LevelResponses,
    ListSettings,
    Response,
    SettingsError,
    Source,
)
from unspread.platform_kit.store import Verdict

ANY = LevelResponses(unverified=Response.REFUSE)
STOPNCII = ListSettings(source=Source.STOPNCII, credentials="stopncii.toml", actions=ANY)
NCMEC = ListSettings(source=Source.NCMEC, credentials="ncmec.toml", actions=ANY)
THREATEXCHANGE = ListSettings(
    source=Source.THREATEXCHANGE, credentials="te.toml", privacy_group="77", actions=ANY
)
KEYS = Credentials(
    username="u",
    password="p",
    function_key="f",
    feedback_key="b",
    subscription_key="s",
    token="12345678|secret",
)
BASE = "https://programme.example/v1"


def pdq(seed: int) -> str:
    return fingerprint_image(picture(seed)).first(Kind.PDQ).value.hex()


class Programme:
    """Answers in a programme's own form; `records` is what it holds."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.records: list[dict[str, str]] = []
        self.page_records = 100
        self.asked: list[httpx.Request] = []
        self.posted: list[httpx.Request] = []
        self.status = 200
        self.status_of_later_pages = 200
        self.status_of_feedback = 200

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer), base_url=BASE)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.status != 200:
            return httpx.Response(self.status)
        if request.method != "GET":
            self.posted.append(request)
            return httpx.Response(self.status_of_feedback, json={})
        self.asked.append(request)
        query = request.url.params
        start = int(query.get("nextPageToken") or query.get("start") or query.get("after") or 0)
        if start and self.status_of_later_pages != 200:
            return httpx.Response(self.status_of_later_pages)
        end = start + self.page_records
        page, more = self.records[start:end], len(self.records) > end
        return getattr(self, f"_{self.kind}")(page, str(end) if more else "")

    def _stopncii(self, page: list[dict], after: str) -> httpx.Response:
        records = [
            {
                "lastModtimestamp": 20,
                "signalType": "ImagePDQ",
                "hashValue": each["pdq"],
                "hashStatus": each.get("status", "Active"),
                "CSPFeedbacks": each.get("feedback", []),
            }
            for each in page
        ]
        place = {"hasMoreRecords": bool(after), "nextSetTimestamp": 20, "nextPageToken": after}
        body = {**place, "count": len(records), "hashRecords": records}
        return httpx.Response(200, content=json.dumps(body))

    def _ncmec(self, page: list[dict], after: str) -> httpx.Response:
        entries = "".join(
            f"<{each.get('tag', 'image')}><member id='{each.get('member', '42')}'>X</member>"
            f"<timestamp>2026-11-23T05:00:00Z</timestamp><id>{each['id']}</id>"
            + (f"<fingerprints><pdq>{each['pdq']}</pdq></fingerprints>" if "pdq" in each else "")
            + f"</{each.get('tag', 'image')}>"
            for each in page
        )
        link = f"/v2/entries?start={after}" if after else ""
        return httpx.Response(
            200,
            text="<queryResult xmlns='https://hashsharing.ncmec.org/hashsharing/v2'>"
            f"<images count='1' maxTimestamp='2026-11-23T05:00:00Z'>{entries}</images>"
            f"<paging><next>{link}</next></paging></queryResult>",
        )

    def _threatexchange(self, page: list[dict], after: str) -> httpx.Response:
        data = [
            {
                "id": "1",
                "indicator": each["pdq"],
                "type": "HASH_PDQ",
                "last_updated": 20,
                "should_delete": each.get("status") == "deleted",
                "descriptors": {
                    "data": [{"id": f"9{each['id']}", "owner": {"id": "5"}, "status": "UNKNOWN"}]
                },
            }
            for each in page
        ]
        answer = {"data": data}
        if after:
            answer["paging"] = {"next": f"{BASE}/77/threat_updates/?after={after}"}
        return httpx.Response(200, json=answer)


class Follower:
    """A platform that follows one programme beside nothing."""

    def __init__(self, platform: Platform, programme: Programme, settings: ListSettings) -> None:
        self.platform, self.programme, self.settings = platform, programme, settings
        kit = platform.kit
        self.number = asyncio.run(kit.follow("other", settings.source, settings))

    def sync(self) -> None:
        async def work() -> None:
            with self.programme.client() as http:
                sync = ProgrammeSync(self.platform.kit, "other", KEYS, http)
                await sync.once()
                await self.platform.kit.search_new_listings()
                await sync.send_feedback()

        self.platform.clearinghouse.now += timedelta(minutes=1)
        self.platform.clearinghouse.publish()
        asyncio.run(work())


@pytest.fixture(
    params=[("stopncii", STOPNCII), ("ncmec", NCMEC), ("threatexchange", THREATEXCHANGE)],
    ids=["stopncii", "ncmec", "threatexchange"],
)
def follower(platform, request):
    platform.sync()
    kind, settings = request.param
    return Follower(platform, Programme(kind), settings)


def test_what_a_programme_lists_is_refused_and_what_it_deletes_is_forgotten(follower):
    platform, programme = follower.platform, follower.programme
    programme.records = [{"id": "1", "pdq": pdq(1)}]
    follower.sync()
    assert platform.scan(altered(1)).decision == "refuse"

    match programme.kind:
        case "stopncii":
            programme.records[0]["status"] = "Withdrawn"
        case "threatexchange":
            programme.records[0]["status"] = "deleted"
        case "ncmec":
            programme.records = [{"id": "1", "tag": "deletedImage"}]
    follower.sync()

    assert platform.scan(altered(1)).decision == "accept"
    assert len(platform.kit.bank) == 0


def test_one_bad_record_does_not_stop_the_others(follower):
    follower.programme.records = [
        {"id": "1", "pdq": "not hex"},
        {"id": "2", "pdq": pdq(2)},
    ]
    follower.sync()

    assert follower.platform.scan(altered(2)).decision == "refuse"


def test_a_programme_that_is_away_keeps_its_list_matching(follower):
    follower.programme.records = [{"id": "1", "pdq": pdq(1)}]
    follower.sync()
    follower.programme.status = 503

    with pytest.raises(TransportError):
        follower.sync()
    assert follower.platform.scan(altered(1)).decision == "refuse"


def test_a_platform_tells_the_programme_what_it_took_down(follower):
    platform = follower.platform
    follower.sync()
    platform.scan(altered(1), "post-1")
    follower.programme.records = [{"id": "1", "pdq": pdq(1)}]
    follower.sync()
    platform.carry_out()
    follower.sync()

    posted = follower.programme.posted
    paths = [request.url.path for request in posted]
    match follower.programme.kind:
        case "ncmec":
            assert paths == ["/v1/v2/entries/42/1/PDQ/feedback"]
        case "stopncii":
            assert paths == ["/v1/SubmitFeedback", "/v1/SubmitFeedback"]
            said = json.loads(posted[-1].content)["hashFeedbacks"]
            assert said == [{"hashValue": pdq(1), "feedbackValue": "Blocked", "tags": []}]
        case "threatexchange":
            assert paths == ["/v1/91/", "/v1/91/"]
            reactions = [request.url.params["reactions"] for request in posted]
            assert reactions == ["SAW_THIS_TOO", "HELPFUL"]
            assert pdq(1) not in str(posted[0].url)


def test_a_reading_that_breaks_off_goes_on_where_it_was(follower):
    programme, platform = follower.programme, follower.platform
    programme.records = [{"id": str(number), "pdq": pdq(number)} for number in (1, 2, 3)]
    programme.page_records = 1
    programme.status_of_later_pages = 503
    with pytest.raises(TransportError):
        follower.sync()
    assert platform.scan(altered(1)).decision == "unavailable"  # never read to its end
    assert len(platform.kit.bank) == 1
    before = platform.kit.states["other"].cursor

    programme.status_of_later_pages = 200
    follower.platform = restarted = platform.restarted()
    asyncio.run(restarted.kit.follow("other", follower.settings.source, follower.settings))
    assert before
    assert restarted.kit.states["other"].cursor == before
    follower.sync()

    assert [restarted.scan(altered(number)).decision for number in (1, 2, 3)] == ["refuse"] * 3
    restarted.close()


def test_a_page_is_durable_before_the_next_is_asked_for(follower):
    programme = follower.programme
    programme.records = [{"id": str(number), "pdq": pdq(number)} for number in (1, 2)]
    programme.page_records = 1
    held: list[int] = []
    answer = programme.answer

    def counting(request: httpx.Request) -> httpx.Response:
        held.append(follower.platform.kit.store.active_count(follower.number))
        return answer(request)

    programme.answer = counting
    follower.sync()
    assert held[:2] == [0, 1]


def test_a_place_of_the_programme_does_not_depend_on_this_machine_clock_zone(follower, monkeypatch):
    """Local time sent as UTC runs hours ahead in Asia, and new entries are never fetched (W3)."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        follower.programme.records = [{"id": "1", "pdq": pdq(1)}]
        follower.sync()
    finally:
        monkeypatch.undo()
        time.tzset()
    now = follower.platform.now()
    query = follower.programme.asked[-1].url.params
    if follower.programme.kind == "ncmec":
        behind = now - datetime.fromisoformat(query["to"])
        assert timedelta(0) <= behind < timedelta(minutes=1)
    assert follower.platform.scan(altered(1)).decision == "refuse"


def test_feedback_that_is_never_taken_does_not_hold_back_the_rest(follower):
    platform, programme = follower.platform, follower.programme
    follower.sync()
    platform.scan(altered(1), "post-1")
    platform.scan(altered(2), "post-2")
    programme.records = [{"id": "1", "pdq": pdq(1)}, {"id": "2", "pdq": pdq(2)}]
    programme.status_of_feedback = 404
    follower.sync()
    platform.carry_out()
    follower.sync()
    assert platform.kit.store.feedback_due(follower.number) == []

    programme.status_of_feedback = 503
    platform.scan(altered(1), "post-3")
    platform.kit.store.sum_up_blocked(platform.now())
    with pytest.raises(TransportError):
        follower.sync()
    assert len(platform.kit.store.feedback_due(follower.number)) == 1


def test_what_a_reviewer_disputes_is_told_with_the_reason(follower):
    platform = follower.platform
    held = ListSettings(source=follower.settings.source, credentials="x", privacy_group="77")
    asyncio.run(platform.kit.follow("other", held.source, held))
    follower.settings = held
    follower.programme.records = [{"id": "1", "pdq": pdq(1)}]
    follower.sync()
    platform.scan(altered(1), "post-1")
    (action,) = platform.kit.store.held()
    store, now = platform.kit.store, platform.now()
    store.write(
        lambda c: store.record_review(
            c, action.action_id, Verdict.DISPUTE, Reason.NOT_INTIMATE, "anna", now
        )
    )
    follower.sync()

    posted = follower.programme.posted
    match follower.programme.kind:
        case "ncmec":  # its no needs a reason of its own, which a person gives there
            assert posted == []
        case "stopncii":
            said = json.loads(posted[-1].content)["hashFeedbacks"]
            assert said == [
                {"hashValue": pdq(1), "feedbackValue": "NotBlocked", "tags": ["not_intimate"]}
            ]
        case "threatexchange":
            assert "DISAGREE_WITH_TAGS" in [each.url.params.get("reactions") for each in posted]


def test_votes_of_others_raise_the_level(platform):
    platform.sync()
    follower = Follower(platform, Programme("stopncii"), STOPNCII)
    said = [{"source": name, "feedbackValue": "Blocked", "tags": []} for name in ("A", "B")]
    follower.programme.records = [{"pdq": pdq(1), "feedback": said}]
    follower.sync()

    assert platform.scan(picture(1)).match.level is Level.CORROBORATED


def test_a_complete_reading_forgets_what_it_does_not_name(platform, clearinghouse):
    platform.sync()
    follower = Follower(platform, Programme("stopncii"), STOPNCII)
    follower.programme.records = [{"pdq": pdq(1)}, {"pdq": pdq(2)}]
    follower.sync()
    number = platform.kit.states["other"].number

    # The place in the list is lost: the next reading begins at the beginning.
    platform.kit.store.write(
        lambda c: c.execute("UPDATE lists SET cursor = x'' WHERE number = ?", (number,))
    )
    asyncio.run(platform.kit.refresh_states())
    follower.programme.records = [{"pdq": pdq(2)}]
    follower.sync()

    assert platform.scan(altered(1)).decision == "accept"
    assert platform.scan(altered(2)).decision == "refuse"


def test_only_members_that_were_chosen_are_followed(platform):
    platform.sync()
    chosen = ListSettings(source=Source.NCMEC, credentials="x", actions=ANY, members=("7",))
    follower = Follower(platform, Programme("ncmec"), chosen)
    follower.programme.records = [
        {"id": "1", "pdq": pdq(1), "member": "7"},
        {"id": "2", "pdq": pdq(2), "member": "8"},
    ]
    follower.sync()

    assert platform.scan(altered(1)).decision == "refuse"
    assert platform.scan(altered(2)).decision == "accept"


@pytest.mark.parametrize(
    "text",
    [None, "username = 'u'", "username = 1\npassword = 'p'", "surprise = 1"],
    ids=["no file", "half of it", "wrong type", "unknown name"],
)
def test_credentials_that_cannot_serve_are_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "ncmec.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        credentials_from(tmp_path, NCMEC)
    assert "'u'" not in str(caught.value)
