"""Where content for review comes from: kept for as long as it waits, or fetched on purpose."""

from pathlib import Path

import httpx
import pytest

from unspread.platform_kit.review.content import (
    FetchedContent,
    HeldContent,
    NoContentError,
    content_for,
    media_type,
)
from unspread.platform_kit.review.rules import ReviewSettings


def test_held_content_is_for_its_owner_alone_and_named_after_nothing(tmp_path: Path) -> None:
    held = HeldContent(tmp_path / "held")
    held.keep("../../etc/passwd", b"content")
    (stored,) = held.stored()
    assert stored.parent == tmp_path / "held"
    assert (stored.stat().st_mode & 0o777, "passwd" in stored.name) == (0o600, False)
    assert held.read("../../etc/passwd") == b"content"


def test_a_large_upload_is_copied_from_its_file(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"large")
    held = HeldContent(tmp_path / "held")
    held.keep("post/1", upload)
    upload.unlink()
    assert held.read("post/1") == b"large"


def test_what_no_longer_waits_is_deleted_and_what_just_came_is_not(tmp_path: Path) -> None:
    held = HeldContent(tmp_path / "held")
    assert held.stored() == set()
    held.keep("decided", b"1")
    held.keep("waiting", b"2")
    stored = held.stored()
    held.keep("new", b"3")
    held.forget_others(stored, {"waiting"})
    with pytest.raises(NoContentError):
        held.read("decided")
    assert (held.read("waiting"), held.read("new")) == (b"2", b"3")


def fetched(reference: str, answer: httpx.Response) -> tuple[bytes, httpx.Request]:
    asked: list[httpx.Request] = []

    def platform(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer

    content = FetchedContent(
        "https://media.example/raw/{reference}",
        "a-key",
        lambda: httpx.Client(transport=httpx.MockTransport(platform)),
    )
    return content.read(reference), asked[0]


def test_content_is_fetched_with_the_platforms_key() -> None:
    content, request = fetched("post/1 a?b#c", httpx.Response(200, content=b"picture"))
    assert content == b"picture"
    assert request.headers["authorization"] == "Bearer a-key"
    assert str(request.url) == "https://media.example/raw/post/1%20a%3Fb%23c"


@pytest.mark.parametrize("status", [301, 401, 404, 500])
def test_content_that_is_not_there_is_not_shown(status: int) -> None:
    with pytest.raises(NoContentError, match=str(status)):
        fetched("post/1", httpx.Response(status))


@pytest.mark.parametrize("reference", ["..", "../admin", "a/../../admin"])
def test_a_reference_leads_nowhere_else(reference: str) -> None:
    with pytest.raises(NoContentError):
        fetched(reference, httpx.Response(200))


def test_the_settings_say_which(tmp_path: Path) -> None:
    held = HeldContent(tmp_path)
    assert content_for(ReviewSettings(), tmp_path, held) is held
    (tmp_path / "key").write_text("a-key\n")
    settings = ReviewSettings(content_url="https://x/{reference}", content_key_file="key")
    assert isinstance(content_for(settings, tmp_path, held), FetchedContent)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"\0\0\0\x18ftypavif", "image/avif"),
    ],
)
def test_the_type_is_told_by_the_bytes(content: bytes, kind: str) -> None:
    assert media_type(content) == kind


@pytest.mark.parametrize("content", [b"", b"<svg xmlns=", b"<html>", b"%PDF-1.7", b"\xff\xd8"])
def test_what_could_be_more_than_a_picture_is_not_shown(content: bytes) -> None:
    with pytest.raises(NoContentError):
        media_type(content)
