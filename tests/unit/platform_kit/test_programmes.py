"""NCMEC's, StopNCII's and ThreatExchange's lists, followed as ours are."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest

from tests.unit.platform_kit.conftest import Platform
from tests.unit.platform_kit.test_following import altered, picture
from unspread.errors import TransportError
from unspread.fingerprint import fingerprint_image
from unspread.model import Kind, Level
from unspread.platform_kit.programmes import Credentials, ProgrammeSync, credentials_from
from unspread.platform_kit.settings import (
    LevelResponses,
    ListSettings,
    Response,
    SettingsError,
    Source,
)

ANY = LevelResponses(unverified=Response.REFUSE)
STOPNCII = ListSettings(source=Source.STOPNCII, credentials="stopncii.toml", actions=ANY)
NCMEC = ListSettings(source=Source.NCMEC, credentials="ncmec.toml", actions=ANY)
KEYS = Credentials(
    username="u", password="p", function_key="f", feedback_key="b", subscription_key="s"
)


def pdq(seed: int) -> str:
    return fingerprint_image(picture(seed)).first(Kind.PDQ).value.hex()


class Programme:
    """Answers in a programme's own form; `records` is what it holds."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.records: list[dict[str, str]] = []
        self.posted: list[httpx.Request] = []
        self.status = 200

    def client(self) -> httpx.Client:
        return httpx.Client(
            transport=httpx.MockTransport(self.answer), base_url="https://programme.example/v1"
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.status != 200:
            return httpx.Response(self.status)
        if request.method != "GET":
            self.posted.append(request)
            return httpx.Response(200, json={})
        if self.kind == "stopncii":
            records = [
                {
                    "lastModtimestamp": 20,
                    "signalType": "ImagePDQ",
                    "hashValue": each["pdq"],
                    "hashStatus": each.get("status", "Active"),
                    "CSPFeedbacks": each.get("feedback", []),
                }
                for each in self.records
            ]
            page = {"hasMoreRecords": False, "nextSetTimestamp": 20, "hashRecords": records}
            return httpx.Response(200, content=json.dumps({**page, "count": len(records)}))
        entries = "".join(
            f"<{each.get('tag', 'image')}><member id='{each.get('member', '42')}'>X</member>"
            f"<timestamp>2026-11-23T05:00:00Z</timestamp><id>{each['id']}</id>"
            + (f"<fingerprints><pdq>{each['pdq']}</pdq></fingerprints>" if "pdq" in each else "")
            + f"</{each.get('tag', 'image')}>"
            for each in self.records
        )
        return httpx.Response(
            200,
            text="<queryResult xmlns='https://hashsharing.ncmec.org/hashsharing/v2'>"
            f"<images count='1' maxTimestamp='2026-11-23T05:00:00Z'>{entries}</images>"
            "</queryResult>",
        )


class Follower:
    """A platform that follows one programme beside nothing."""

    def __init__(self, platform: Platform, programme: Programme, settings: ListSettings) -> None:
        self.platform, self.programme, self.settings = platform, programme, settings
        kit = platform.kit
        asyncio.run(kit.follow("other", settings.source, settings))

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


@pytest.fixture(params=[("stopncii", STOPNCII), ("ncmec", NCMEC)], ids=["stopncii", "ncmec"])
def follower(platform, request):
    platform.sync()
    kind, settings = request.param
    return Follower(platform, Programme(kind), settings)


def test_what_a_programme_lists_is_refused_and_what_it_deletes_is_forgotten(follower):
    platform, programme = follower.platform, follower.programme
    programme.records = [{"id": "1", "pdq": pdq(1)}]
    follower.sync()
    assert platform.scan(altered(1)).decision == "refuse"

    if programme.kind == "stopncii":
        programme.records[0]["status"] = "Withdrawn"
    else:
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

    paths = [request.url.path for request in follower.programme.posted]
    if follower.programme.kind == "ncmec":
        assert paths == ["/v1/v2/entries/42/1/PDQ/feedback"]
    else:
        assert paths == ["/v1/SubmitFeedback", "/v1/SubmitFeedback"]
        said = json.loads(follower.programme.posted[-1].content)["hashFeedbacks"]
        assert said == [{"hashValue": pdq(1), "feedbackValue": "Blocked", "tags": []}]


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
