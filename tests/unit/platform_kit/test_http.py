"""The HTTP forms that upload paths rely on."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import msgspec
import pytest
import structlog
from starlette.applications import Starlette

from tests.unit.platform_kit.conftest import HOLDING, REFUSING, Platform
from tests.unit.platform_kit.test_following import altered, picture
from unspread.match import kernel_name
from unspread.model import Part
from unspread.platform_kit import api
from unspread.platform_kit.access import Scope
from unspread.platform_kit.scanner import Scanner
from unspread.platform_kit.settings import Fallback
from unspread.testing.samples import encoded, landscape


class Caller:
    """Calls a platform's interface with a key."""

    def __init__(self, platform: Platform, *scopes: Scope) -> None:
        self.platform = platform
        self.app = Starlette(routes=api.routes(platform.kit))
        name = f"key-{len(platform.kit.keys.all())}"
        key = platform.kit.keys.issue(name, scopes or Scope, "test", platform.now())
        self.headers = {"authorization": f"Bearer {key}"}

    def __call__(self, method: str, path: str, **values: object) -> httpx.Response:
        async def work() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://kit", headers=self.headers
            ) as http:
                return await http.request(method, path, **values)

        return asyncio.run(work())

    def scan(self, media: bytes, path: str = "/scan") -> httpx.Response:
        return self("POST", path, content=media)


@pytest.fixture
def call(platform, clearinghouse) -> Caller:
    clearinghouse.protect(picture(1))
    platform.sync()
    return Caller(platform)


def test_a_match_is_refused_with_an_explanation(call):
    answer = call.scan(altered(1))

    body = answer.json()
    assert answer.status_code == 406
    assert body["decision"] == "refuse"
    assert body["rule"].startswith("unspread: unverified -> refuse")
    assert body["matches"][0]["variant"] == "original"
    assert body["list"] == "unspread"


def test_a_mirrored_copy_says_which_turn_matched(call):
    mirrored = landscape(1, 480, 360).transpose(0)
    body = call.scan(encoded(mirrored, "PNG")).json()
    assert (body["decision"], body["matches"][0]["variant"]) == ("refuse", "mirrored")


def test_another_picture_is_accepted(call):
    answer = call.scan(picture(2))
    assert (answer.status_code, answer.json()["checked"]) == (200, True)


def test_a_hold_refuses_those_who_do_not_know_of_it(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, {"unspread": HOLDING})
    clearinghouse.protect(picture(1))
    platform.sync()
    call = Caller(platform)

    assert call.scan(altered(1)).status_code == 409
    answer = call.scan(altered(1), "/scan?hold=accept&reference=post-1")
    assert (answer.status_code, answer.json()["decision"]) == (202, "hold")
    assert [each.reference for each in platform.kit.store.held()] == ["post-1"]
    assert platform.actions() == []
    platform.close()


@pytest.mark.parametrize(
    ("media", "status", "text"),
    [
        pytest.param(b"", 422, "empty", id="0 bytes"),
        pytest.param(b"hello " * 50, 422, "not a picture or a video", id="text"),
        pytest.param(encoded(landscape(3, 600, 400))[:9000], 422, "damaged", id="truncated"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(call, media, status, text):
    answer = call.scan(media)
    assert answer.status_code == status
    assert text in answer.json()["reason"]
    assert answer.json()["checked"] is False


def test_a_blank_picture_is_said_to_show_too_little(call):
    blank = encoded(landscape(1, 300, 300).point(lambda _: 128), "PNG")
    answer = call.scan(blank)
    assert (answer.status_code, answer.json()["notes"]) == (200, ["low_quality"])


def test_an_upload_beyond_the_limit_is_cut_off(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, max_upload_bytes=1000)
    platform.sync()
    call = Caller(platform)
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while len(sent) < 100:
            sent.append(500)
            yield bytes(500)

    assert call.scan(bytes(1001)).status_code == 413
    assert call("POST", "/scan", content=endless()).status_code == 413
    platform.close()


def test_a_large_upload_goes_through_a_file_that_is_gone_afterwards(call, platform, monkeypatch):
    monkeypatch.setattr(api, "_IN_MEMORY_BYTES", 4096)
    assert call.scan(altered(1)).status_code == 406
    assert list((platform.data / "spool").iterdir()) == []


def test_busy_workers_turn_uploads_away_at_once(call, platform):
    platform.kit.scanner = Scanner(platform.kit.scanner._fingerprint, 0)
    answer = call.scan(picture(2))
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


@pytest.mark.parametrize(("policy", "status"), [(Fallback.REFUSE, 503), (Fallback.ACCEPT, 200)])
def test_before_a_list_is_loaded_the_settings_decide_and_the_answer_says_so(
    platform, policy, status
):
    platform.kit.settings = msgspec.structs.replace(platform.kit.settings, when_unavailable=policy)
    call = Caller(platform)
    answer = call.scan(picture(2))
    assert (answer.status_code, answer.json()["checked"]) == (status, False)
    metrics = call("GET", "/metrics").text
    assert ('unspread_fail_open_total{cause="unavailable"} 1.0' in metrics) == (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/scan", Scope.SCAN),
        ("POST", "/lookup", Scope.LOOKUP),
        ("POST", "/catalogue", Scope.CATALOGUE),
        ("POST", "/catalogue/forget", Scope.CATALOGUE),
        ("GET", "/metrics", Scope.METRICS),
    ],
)
def test_every_door_asks_for_a_key_with_its_scope(platform, method, path, scope):
    others = [each for each in Scope if each is not scope]
    call = Caller(platform, *others)
    assert call(method, path).status_code == 403
    call.headers = {"authorization": "Bearer uk_guessed"}
    assert call(method, path).status_code == 401
    call.headers = {}
    answer = call(method, path)
    assert (answer.status_code, "www-authenticate" in answer.headers) == (401, True)


def test_a_key_serves_as_basic_password_too(call):
    key = call.headers["authorization"].removeprefix("Bearer ")
    call.headers = {}
    assert call("POST", "/scan", content=picture(2), auth=("any", key)).status_code == 200


def test_a_revoked_key_is_refused_from_the_next_request_on(call, platform):
    assert call.scan(picture(2)).status_code == 200
    platform.kit.keys.revoke(platform.kit.keys.all()[-1].name, "test", platform.now())
    assert call.scan(picture(2)).status_code == 401


def test_a_key_that_asks_too_often_is_told_to_wait(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, requests_per_minute=60)
    platform.sync()
    call = Caller(platform)
    answers = [call("POST", "/lookup", json={"queries": []}) for _ in range(11)]
    assert [each.status_code for each in answers] == [200] * 10 + [429]
    assert "retry-after" in answers[-1].headers
    platform.close()


def test_lookups_come_back_in_order(call, platform):
    listing = platform.kit.store.listing(0, 0)
    by_kind = {
        each.kind: each.value.hex() for each in listing.fingerprints if each.part is Part.WHOLE
    }
    (window, *_) = (each.value.hex() for each in listing.fingerprints if each.part is Part.WINDOW)
    far = "00" * 32
    answer = call(
        "POST",
        "/lookup",
        json={
            "queries": [
                {"pdq": far},
                {"pdq": by_kind["pdq"]},
                {"md5": by_kind["md5"]},
                {"sha256": far},
                {"sha256": by_kind["sha256"]},
                {"pdq": window},
            ]
        },
    )
    found = [[match["listing_id"] for match in each] for each in answer.json()["results"]]
    assert found == [[], [0], [0], [], [0], []]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b'{"queries": [{"pdq": "\xff"}]}', id="not UTF-8"),
        pytest.param(b'{"queries": [{}]}', id="no value"),
        pytest.param(b'{"queries": [{"pdq": "00", "md5": "00"}]}', id="two values"),
        pytest.param(b'{"queries": [{"pdq": "00"}]}', id="too short"),
        pytest.param(json.dumps({"queries": [{"md5": "AA" * 16}]}).encode(), id="capitals"),
        pytest.param(json.dumps({"queries": [{"md5": "zz" * 16}]}).encode(), id="not hex"),
        pytest.param(b'{"queries": [], "more": 1}', id="unknown field"),
    ],
)
def test_malformed_lookups_are_refused(call, body):
    answer = call("POST", "/lookup", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("reference", ["", "x" * 513, "a\nb"])
def test_malformed_references_are_refused_and_nothing_is_remembered(call, platform, reference):
    answer = call("POST", "/scan", content=picture(2), params={"reference": reference})
    assert answer.status_code == 400
    assert len(platform.kit.catalogue) == 0


def test_content_is_remembered_searched_at_once_and_forgotten(call, platform):
    answer = call("POST", "/catalogue", params={"reference": "old"}, content=altered(1))
    assert answer.json() == {"recorded": True, "matches": 1}
    assert platform.actions() == [("remove", "old", 0)]

    assert call("POST", "/catalogue/forget", json={"references": ["old", "x"]}).status_code == 200
    assert len(platform.kit.catalogue) == 0


def test_readiness_tells_the_truth_about_lists(platform, clearinghouse):
    call = Caller(platform)
    assert call("GET", "/health/live").status_code == 200
    assert call("GET", "/health/ready").status_code == 503

    clearinghouse.protect(picture(1))
    platform.sync()
    answer = call("GET", "/health/ready")
    assert (answer.status_code, answer.json()["lists"][0]["stale"]) == (200, False)

    clearinghouse.now += timedelta(hours=1)
    answer = call("GET", "/health/ready")
    assert (answer.status_code, answer.json()["lists"][0]["stale"]) == (200, True)
    assert 'unspread_list_stale{list="unspread"} 1.0' in call("GET", "/metrics").text
    assert call.scan(altered(1)).json()["stale"] is True


def test_metrics_say_which_kernel_matches_and_how_large_the_bank_is(call):
    text = call("GET", "/metrics").text
    assert f'unspread_match_kernel{{kernel="{kernel_name()}"}} 1.0' in text
    assert f"unspread_bank_rows {float(len(call.platform.kit.bank))}" in text
    assert "unspread_index_memory_bytes" in text


def test_a_kit_whose_tasks_ended_says_that_it_is_not_alive(platform):
    platform.kit.is_running = False
    assert Caller(platform)("GET", "/health/live").status_code == 503


def test_no_fingerprint_reaches_a_log_a_metric_or_an_error(
    platform, clearinghouse, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    # The caller's own client names what it asks for.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    said: list[str] = []
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()],
        logger_factory=lambda *_: structlog.PrintLogger(Sink(said)),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    try:
        listing_id = clearinghouse.protect(picture(1))
        platform.sync()
        call = Caller(platform)
        prints = platform.kit.store.listing(0, listing_id).fingerprints
        values = {each.value.hex() for each in prints}
        call.scan(altered(1), "/scan?reference=secret-reference")
        call.scan(altered(1))
        call.scan(b"broken")
        for value in values:
            for kind in ("pdq", "md5", "sha256"):
                call("POST", "/lookup", json={"queries": [{kind: value}]})
                call("POST", "/lookup", json={"queries": [{kind: value + "0"}]})
        clearinghouse.is_reachable = False
        with pytest.raises(Exception, match="answer") as caught:
            platform.sync()
        said += [str(caught.value), caplog.text, call("GET", "/metrics").text]
        answers = [
            call("POST", "/lookup", json={"queries": [{kind: value + "0"}]}).text
            for value in values
            for kind in ("pdq", "md5")
        ]
        text = "\n".join([*said, *answers])
        assert text
        for value in values:
            assert value[:16] not in text
        assert "secret-reference" not in text
        for request in clearinghouse.requests:
            assert not any(value[:16] in str(request.url) for value in values)
    finally:
        structlog.reset_defaults()


class Sink:
    """A file that keeps what is written."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append

    def flush(self) -> None:
        pass


def test_one_listing_that_matches_everything_is_only_held(tmp_path, clearinghouse):
    flooding = {"unspread": msgspec.structs.replace(REFUSING, flood_limit=2)}
    platform = Platform(tmp_path, clearinghouse, flooding)
    clearinghouse.protect(picture(1))
    platform.sync()
    call = Caller(platform)
    assert [call.scan(altered(1)).status_code for _ in range(4)] == [406, 406, 409, 409]
    platform.close()
