"""Callers of Hasher-Matcher-Actioner get the answers that they know."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute
from threatexchange.signal_type.index import NO_DISTANCE_STR

from tests.unit.platform_kit.hooks.conftest import HARMLESS, PROTECTED, Hooked, picture
from unspread.fingerprint import fingerprint_image
from unspread.model import Kind
from unspread.platform_kit.hooks.hma import Hma, bank_name
from unspread.platform_kit.hooks.settings import HmaSettings
from unspread.platform_kit.settings import ListSettings
from unspread.testing.samples import encoded, landscape

OPEN = HmaSettings(enabled=True, without_key=True)


def pdq(seed: int) -> str:
    found = fingerprint_image(picture(seed)).first(Kind.PDQ)
    assert found is not None
    return found.value.hex()


def routes(kit: Any) -> Callable[[httpx.AsyncClient], list[BaseRoute]]:
    return lambda client: Hma(kit, client).routes()


def get(path: str, **params: str) -> dict[str, Any]:
    return {"method": "GET", "url": path, "params": params}


def upload(path: str, content: bytes, field: str = "photo", **params: str) -> dict[str, Any]:
    return {"method": "POST", "url": path, "files": {field: ("x", content)}, "params": params}


def ask(hooked: Hooked, *requests: dict[str, Any], **options: Any) -> list[httpx.Response]:
    return hooked.asked(routes(hooked.kit), *requests, **options)


def test_a_listed_hash_is_found_by_raw_lookup(hooked: Callable[..., Hooked]) -> None:
    kit = hooked(hma=OPEN)
    signal = {"signal_type": "pdq", "signal": pdq(PROTECTED)}
    bare, with_distance, other = ask(
        kit,
        get("/m/raw_lookup", **signal),
        get("/m/raw_lookup", include_distance="true", **signal),
        get("/m/raw_lookup", signal_type="pdq", signal=pdq(HARMLESS)),
    )
    assert bare.json() == {"matches": [kit.listing_id]}
    assert with_distance.json() == {
        "matches": [{"bank_content_id": kit.listing_id, "distance": "0"}]
    }
    assert other.json() == {"matches": []}


def test_lookup_answers_by_bank_for_a_signal_and_by_signal_type_for_a_file(
    hooked: Callable[..., Hooked],
) -> None:
    kit = hooked(hma=OPEN)
    match = [{"bank_content_id": kit.listing_id, "distance": "0"}]
    by_signal, by_file, nothing = ask(
        kit,
        get("/m/lookup", signal_type="pdq", signal=pdq(PROTECTED)),
        upload("/m/lookup", picture(PROTECTED)),
        upload("/m/lookup", picture(HARMLESS)),
    )
    assert by_signal.json() == {"UNSPREAD": match}
    assert by_file.json() == {"pdq": {"UNSPREAD": match}}
    assert nothing.json() == {"pdq": {}}


def test_a_turned_picture_is_found_as_hma_would_not(hooked: Callable[..., Hooked]) -> None:
    turned = encoded(landscape(PROTECTED, 320, 240).rotate(90, expand=True), "PNG")
    (answer,) = ask(hooked(hma=OPEN), upload("/m/lookup", turned))
    assert len(answer.json()["pdq"]["UNSPREAD"]) == 1


def test_hash_gives_what_the_reference_gives(hooked: Callable[..., Hooked]) -> None:
    answer, same = ask(
        hooked(hma=OPEN),
        upload("/h/hash", picture(HARMLESS)),
        upload("/h/hash", picture(HARMLESS), types="pdq"),
    )
    assert answer.json() == same.json() == {"pdq": pdq(HARMLESS)}


def test_a_search_is_restricted_to_the_banks_that_are_named(
    hooked: Callable[..., Hooked],
) -> None:
    kit = hooked(hma=OPEN)
    signal = {"signal_type": "pdq", "signal": pdq(PROTECTED)}
    match = {"bank_content_id": kit.listing_id, "distance": "0"}
    named, others, file, raw, no_raw = ask(
        kit,
        get("/m/lookup", banks="OTHER,UNSPREAD", **signal),
        get("/m/lookup", banks="OTHER", **signal),
        upload("/m/lookup", picture(PROTECTED), banks="OTHER"),
        get("/m/raw_lookup", banks="UNSPREAD", **signal),
        get("/m/raw_lookup", banks="OTHER", include_distance="true", **signal),
    )
    assert (named.json(), others.json()) == ({"UNSPREAD": [match]}, {})
    assert file.json() == {"pdq": {}}
    assert (raw.json(), no_raw.json()) == ({"matches": [kit.listing_id]}, {"matches": []})


def test_a_digest_has_no_distance(hooked: Callable[..., Hooked]) -> None:
    kit = hooked(hma=OPEN)
    digest = fingerprint_image(picture(PROTECTED)).first(Kind.MD5)
    assert digest is not None
    (answer,) = ask(kit, get("/m/lookup", signal_type="md5", signal=digest.value.hex()))
    assert answer.json() == {"UNSPREAD": [{"bank_content_id": kit.listing_id, "distance": "-"}]}
    assert NO_DISTANCE_STR == "-"


def test_two_files_at_once_are_refused(hooked: Callable[..., Hooked]) -> None:
    two = [("photo", ("a", picture(PROTECTED))), ("photo", ("b", picture(HARMLESS)))]
    (answer,) = ask(hooked(hma=OPEN), {"method": "POST", "url": "/m/lookup", "files": two})
    assert answer.status_code == 400
    assert "Only one file allowed" in answer.json()["message"]


def test_a_picture_without_a_usable_hash_has_none(hooked: Callable[..., Hooked]) -> None:
    grey = encoded(landscape(1, 64, 64).point(lambda _: 128), "PNG")
    hashed, looked_up = ask(hooked(hma=OPEN), upload("/h/hash", grey), upload("/m/lookup", grey))
    assert (hashed.status_code, hashed.json()) == (200, {})
    assert (looked_up.status_code, looked_up.json()) == (200, {})


def test_a_list_that_is_only_watched_is_not_answered(hooked: Callable[..., Hooked]) -> None:
    kit = hooked(ListSettings(shadow=True), hma=OPEN)
    (answer,) = ask(kit, get("/m/lookup", signal_type="pdq", signal=pdq(PROTECTED)))
    assert answer.json() == {}


def test_a_listing_that_was_withdrawn_is_not_answered(hooked: Callable[..., Hooked]) -> None:
    kit = hooked(hma=OPEN)
    kit.clearinghouse.take_back(kit.listing_id)
    kit.platform.sync()
    (answer,) = ask(kit, get("/m/lookup", signal_type="pdq", signal=pdq(PROTECTED)))
    assert answer.json() == {}


def test_a_file_is_fetched_from_listed_hosts_alone(hooked: Callable[..., Hooked]) -> None:
    kit = hooked(hma=OPEN, fetch_hosts=("cdn.example",))
    asked: list[str] = []

    def cdn(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(200, content=picture(PROTECTED))

    found, of_type, refused = ask(
        kit,
        get("/m/lookup", url="https://cdn.example/1.jpg"),
        get("/m/lookup", url="https://cdn.example/1.jpg", signal_type="pdq"),
        get("/h/hash", url="http://127.0.0.1:8080/status"),
        outside=cdn,
    )
    assert "UNSPREAD" in found.json()["pdq"]
    assert set(of_type.json()) == {"UNSPREAD"}
    assert (refused.status_code, asked) == (400, ["cdn.example"] * 2)


def test_coop_names_a_bank_and_finds_it_in_its_lookups(hooked: Callable[..., Hooked]) -> None:
    kit = hooked(hma=OPEN)
    name = "COOP_ORG1_UNSPREAD"
    made, listed, one, looked_up, gone, after, unknown = ask(
        kit,
        {"method": "POST", "url": "/c/banks", "json": {"name": name, "enabled_ratio": "1"}},
        get("/c/banks"),
        get(f"/c/bank/{name}"),
        get("/m/lookup", signal_type="pdq", signal=pdq(PROTECTED)),
        {"method": "DELETE", "url": f"/c/bank/{name}"},
        get(f"/c/bank/{name}"),
        {"method": "POST", "url": "/c/banks", "json": {"name": "COOP_ORG1_OTHER"}},
    )
    assert made.json()["name"] == name
    assert [each["name"] for each in listed.json()] == [name, "UNSPREAD"]
    assert one.status_code == 200
    assert set(looked_up.json()) == {name, "UNSPREAD"}
    assert (gone.status_code, after.status_code) == (200, 404)
    assert (unknown.status_code, "UNSPREAD" in unknown.json()["message"]) == (400, True)


def test_status_says_whether_the_list_is_there_and_fresh(hooked: Callable[..., Hooked]) -> None:
    kit = hooked(hma=OPEN)
    alive, live, livez, ready = ask(
        kit, *map(get, ("/status", "/status/live", "/livez", "/readyz"))
    )
    assert (alive.status_code, alive.text, live.text) == (200, "I-AM-ALIVE", "I-AM-ALIVE")
    assert (livez.text, ready.text) == ("OK", "READY")
    kit.clearinghouse.now = kit.clearinghouse.now.replace(year=kit.clearinghouse.now.year + 1)
    stale, unready = ask(kit, get("/status"), get("/readyz"))
    assert (stale.status_code, stale.text) == (503, "INDEX-STALE")
    assert (unready.status_code, unready.text) == (503, "INDEX-STALE")
    kit.kit.loaded = False
    cold, lookup = ask(kit, get("/status"), get("/m/raw_lookup", signal_type="pdq", signal=pdq(1)))
    assert (cold.status_code, cold.text) == (503, "INDEX-NOT-LOADED")
    assert lookup.status_code == 503


def test_a_key_is_asked_for_unless_the_operator_says_otherwise(
    hooked: Callable[..., Hooked],
) -> None:
    kit = hooked(hma=HmaSettings(enabled=True))
    signal = get("/m/raw_lookup", signal_type="pdq", signal=pdq(PROTECTED))
    with_key = {**signal, "headers": {"authorization": f"Bearer {kit.key}"}}
    without, allowed, status = ask(kit, signal, with_key, get("/status"))
    assert (without.status_code, allowed.status_code, status.status_code) == (401, 200, 200)


@pytest.mark.parametrize(
    "wrong",
    [
        get("/m/raw_lookup"),
        get("/m/raw_lookup", signal_type="tlsh", signal="00"),
        get("/m/raw_lookup", signal_type="pdq", signal="00"),
        get("/m/raw_lookup", signal_type="pdq", signal="x" * 64),
        get("/h/hash"),
        get("/h/hash", url="file:///etc/passwd"),
        upload("/h/hash", b"x", field="document"),
        upload("/h/hash", b"not a picture"),
        upload("/h/hash", picture(PROTECTED), types="tlsh"),
        upload("/h/hash", picture(PROTECTED), types="video_md5"),
        upload("/h/hash", picture(PROTECTED), types=","),
        {"method": "POST", "url": "/h/hash", "content": b""},
        {"method": "POST", "url": "/c/banks", "content": b"{"},
        {"method": "POST", "url": "/c/banks", "content": b"[" * 100_000},
        {"method": "POST", "url": "/c/banks", "json": []},
        {"method": "POST", "url": "/c/banks", "json": {"name": "x; DROP"}},
        {"method": "PUT", "url": "/c/bank/UNSPREAD", "json": {"enabled_ratio": 0}},
    ],
)
def test_what_is_malformed_is_a_400_with_a_message(
    hooked: Callable[..., Hooked], wrong: dict[str, Any]
) -> None:
    (answer,) = ask(hooked(hma=OPEN), wrong)
    assert (answer.status_code, bool(answer.json()["message"])) == (400, True)


@pytest.mark.parametrize(
    ("name", "bank"), [("unspread", "UNSPREAD"), ("stop-ncii.org", "STOP_NCII_ORG"), ("-a-", "A")]
)
def test_a_lists_name_becomes_a_banks_name(name: str, bank: str) -> None:
    assert bank_name(name) == bank
