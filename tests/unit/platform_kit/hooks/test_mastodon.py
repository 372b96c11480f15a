"""Mastodon's admin webhook: signed, scanned, reported; busy means: send it again."""

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.platform_kit.hooks.conftest import HARMLESS, PROTECTED, Hooked, picture
from unspread.errors import InputError
from unspread.platform_kit.hooks.mastodon import Mastodon
from unspread.platform_kit.hooks.settings import MastodonSettings

SECRET = "0123456789abcdef"
MEDIA = "https://social.example/system/media_attachments/files/1/original/a.jpg"


def webhook(*urls: str, event: str = "status.created") -> bytes:
    """As https://docs.joinmastodon.org/admin/webhooks/ and .../entities/Status/ show it."""
    attachments = [
        {"id": str(number), "type": "image", "url": url, "remote_url": None, "blurhash": "x"}
        for number, url in enumerate(urls)
    ]
    status = {
        "id": "113520",
        "created_at": "2026-11-23T05:00:00.000Z",
        "visibility": "public",
        "content": "<p>hello</p>",
        "account": {"id": "42", "username": "somebody", "acct": "somebody"},
        "media_attachments": attachments,
    }
    return json.dumps({"event": event, "created_at": "…", "object": status}).encode()


class Stand:
    """A Mastodon server with one picture."""

    def __init__(self, hooked: Callable[..., Hooked], data: Path, seed: int, **more: Any) -> None:
        (data / "keys").mkdir(parents=True, exist_ok=True)
        (data / "keys" / "mastodon.token").write_text("a-token\n")
        (data / "keys" / "mastodon.secret").write_text(f"{SECRET}\n")
        self.settings = MastodonSettings(url="https://social.example", **more)
        self.kit = hooked(mastodon=self.settings)
        self.seed = seed
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.told = b'{"id": "7"}'

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=picture(self.seed))
        assert request.headers["authorization"] == "Bearer a-token"
        self.calls.append((request.url.path, json.loads(request.content)))
        return httpx.Response(self.status, content=self.told)

    def call(self, body: bytes, signature: str | None = None) -> httpx.Response:
        right = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        request = {
            "method": "POST",
            "url": "/hooks/mastodon",
            "content": body,
            "headers": {"x-hub-signature": (right if signature is None else signature).encode()},
        }
        (answered,) = self.kit.asked(
            lambda client: Mastodon(self.kit.kit, self.settings, client).routes(),
            request,
            outside=self.answer,
        )
        return answered


@pytest.fixture
def stand(hooked: Callable[..., Hooked], tmp_path: Path) -> Callable[..., Stand]:
    return lambda seed, **more: Stand(hooked, tmp_path, seed, **more)


def test_a_match_is_reported_to_the_moderators(stand: Callable[..., Stand]) -> None:
    server = stand(PROTECTED)
    assert server.call(webhook(MEDIA)).json() == {"scanned": 1}
    ((path, report),) = server.calls
    assert path == "/api/v1/reports"
    assert (report["account_id"], report["status_ids"], report["category"]) == (
        "42",
        ["113520"],
        "legal",
    )


def test_a_match_may_also_act_on_the_account(stand: Callable[..., Stand]) -> None:
    server = stand(PROTECTED, account_action="silence")
    server.call(webhook(MEDIA))
    path, action = server.calls[1]
    assert path == "/api/v1/admin/accounts/42/action"
    assert (action["type"], action["report_id"]) == ("silence", "7")


def test_a_report_counts_even_if_its_answer_is_unreadable(stand: Callable[..., Stand]) -> None:
    server = stand(PROTECTED)
    server.told = b'{"id": "\xff"}'
    assert server.call(webhook(MEDIA)).json() == {"scanned": 1}


def test_a_post_that_matches_nothing_is_remembered_and_not_reported(
    stand: Callable[..., Stand],
) -> None:
    server = stand(HARMLESS)
    server.call(webhook(MEDIA, MEDIA))
    assert server.calls == []
    assert server.kit.kit.catalogue.probes_of("mastodon/113520/1")


def test_several_matches_in_one_post_are_one_report(stand: Callable[..., Stand]) -> None:
    server = stand(PROTECTED)
    server.call(webhook(MEDIA, MEDIA))
    assert len(server.calls) == 1


def test_what_cannot_be_checked_or_reported_now_is_sent_again(
    stand: Callable[..., Stand],
) -> None:
    server = stand(PROTECTED)
    server.status = 503
    assert server.call(webhook(MEDIA)).status_code == 503
    server.kit.kit.loaded = False
    assert server.call(webhook(MEDIA)).status_code == 503


def test_media_of_other_hosts_is_not_fetched(stand: Callable[..., Stand]) -> None:
    server = stand(PROTECTED)
    assert server.call(webhook("http://169.254.169.254/latest")).json() == {"scanned": 1}
    assert server.calls == []


@pytest.mark.parametrize("signature", ["", "sha256=", "sha256=" + "0" * 64, "é"])
def test_only_mastodon_is_believed(stand: Callable[..., Stand], signature: str) -> None:
    server = stand(PROTECTED)
    answer = server.call(webhook(MEDIA), signature)
    assert (answer.status_code, server.calls) == (401, [])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"event": "status.created\xff"}', 400),
        (b'{"event": "status.created", "object": {}}', 400),
        (b'{"event": "report.created", "object": {}}', 200),
    ],
)
def test_other_bodies_and_events(stand: Callable[..., Stand], body: bytes, status: int) -> None:
    assert stand(PROTECTED).call(body).status_code == status


def test_without_its_secret_the_hook_does_not_start(
    hooked: Callable[..., Hooked], tmp_path: Path
) -> None:
    settings = MastodonSettings(url="https://social.example")
    kit = hooked(mastodon=settings)
    with pytest.raises(InputError, match=r"mastodon\.token"):
        Mastodon(kit.kit, settings, httpx.AsyncClient())
