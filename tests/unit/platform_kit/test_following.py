"""From a listing to a refusal, from a refusal to the person's status, and back."""

import asyncio
import dataclasses
import io
from datetime import timedelta
from functools import cache
from pathlib import Path

import av
import httpx
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from tests.films import filmed
from tests.unit.platform_kit.conftest import HOLDING, REFUSING, Platform
from unspread.errors import TrustError
from unspread.fingerprint import fingerprint_file, fingerprint_image
from unspread.model import Kind, Level, Media, Part
from unspread.platform_kit.catalogue_files import write_catalogue
from unspread.platform_kit.scan_commands import scan_catalogue
from unspread.platform_kit.scanner import Scanner, thread_fingerprinter
from unspread.platform_kit.store import ActionKind, Finding, Origin
from unspread.testing.samples import encoded, landscape


@cache
def picture(seed: int, **options: object) -> bytes:
    return encoded(landscape(seed, 480, 360), "JPEG", quality=90, **options)


@cache
def altered(seed: int) -> bytes:
    return encoded(landscape(seed, 480, 360).resize((240, 180)), "WEBP", quality=60)


def test_a_protected_picture_is_refused_and_another_accepted(platform, clearinghouse):
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()

    refused, accepted = platform.scan(altered(1)), platform.scan(picture(2))

    assert (refused.decision, refused.accepted, refused.match.listing_id) == (
        "refuse",
        False,
        listing_id,
    )
    assert 0 <= refused.match.distance_bits <= 31
    assert (accepted.decision, accepted.accepted, accepted.matches) == ("accept", True, ())


def test_an_unverified_listing_only_holds_by_default(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, {})
    clearinghouse.protect(picture(1))
    platform.sync()

    assert platform.scan(altered(1)).decision == "hold"
    platform.close()


@pytest.mark.parametrize(
    ("window_matches", "part", "decision"),
    [
        pytest.param(2, (48, 36, 432, 324), "hold", id="two parts"),
        pytest.param(2, (33, 39, 164, 169), "accept", id="one part"),
        pytest.param(1, (33, 39, 164, 169), "hold", id="one part, where one is enough"),
    ],
)
def test_an_upload_that_shows_parts_is_held_by_as_many_as_the_list_asks_for(
    tmp_path, clearinghouse, window_matches, part, decision
):
    lists = {"unspread": replace(REFUSING, window_matches=window_matches)}
    platform = Platform(tmp_path, clearinghouse, lists)
    platform.kit.scanner = Scanner(thread_fingerprinter(50, windows=True), 1)
    original, upload = landscape(6, 480, 360), landscape(2, 480, 360)
    clearinghouse.protect(encoded(original))
    platform.sync()

    upload.paste(original.crop(part), (24, 18))
    answer = platform.scan(encoded(upload))

    assert answer.decision == decision
    assert [each.part for each in answer.matches] == [Part.WINDOW] * (decision == "hold")
    platform.close()


@pytest.mark.parametrize(
    ("window_matches", "actions", "said"),
    [
        (1, [("hold", "post-1", 0)], "0\t1 match\t0 new actions\n"),
        (2, [], ""),
    ],
)
def test_what_is_hosted_shows_one_part_at_most(
    tmp_path, clearinghouse, window_matches, actions, said
):
    lists = {"unspread": replace(REFUSING, window_matches=window_matches)}
    platform = Platform(tmp_path, clearinghouse, lists)
    platform.sync()
    platform.remember(picture(1), "post-1")
    whole, *_ = fingerprint_image(picture(2)).fingerprints
    hosted, *_ = fingerprint_image(picture(1)).fingerprints
    window = dataclasses.replace(hosted, part=Part.WINDOW)
    clearinghouse.protect_fingerprints((whole, window))
    platform.sync()

    assert platform.actions() == actions
    file = tmp_path / "catalogue.parquet"
    write_catalogue(file, platform.kit.catalogue.entries_after(0))
    platform.close()
    (tmp_path / "platform.toml").write_text(
        f"[lists.unspread]\nwindow_matches = {window_matches}\n"
    )
    found = CliRunner().invoke(
        scan_catalogue, ["--data", str(tmp_path), "--no-actions", "--workers", "1", str(file)]
    )
    assert (found.exit_code, found.stdout) == (0, said), found.output


def test_a_picture_posted_earlier_is_taken_down(platform, clearinghouse):
    platform.sync()
    assert platform.scan(altered(1), "post-1").decision == "accept"
    platform.scan(picture(2), "post-2")

    listing_id = clearinghouse.protect(picture(1))
    platform.sync()

    assert platform.actions() == [("remove", "post-1", listing_id)]


def test_a_withdrawn_picture_is_accepted_again_and_its_fingerprints_are_gone(
    platform, clearinghouse
):
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()
    value = platform.kit.store.listing(0, listing_id).fingerprints[0].value

    clearinghouse.take_back(listing_id)
    platform.sync()

    assert platform.scan(altered(1)).decision == "accept"
    assert len(platform.kit.bank) == 0
    assert platform.kit.store.listing(0, listing_id).fingerprints == ()
    for file in platform.data.iterdir():
        assert not file.is_file() or value not in file.read_bytes()


def test_what_was_held_is_released_when_the_listing_is_withdrawn(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, {"unspread": HOLDING})
    platform.sync()
    platform.scan(altered(1), "post-1")
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()
    assert platform.actions() == [("hold", "post-1", listing_id)]
    platform.carry_out()

    clearinghouse.take_back(listing_id)
    platform.sync()

    assert platform.actions() == [("release", "post-1", listing_id)]
    assert platform.kit.store.held() == ()
    platform.close()


def test_a_removal_that_was_not_yet_done_is_called_off_by_a_withdrawal(platform, clearinghouse):
    platform.sync()
    platform.scan(altered(1), "post-1")
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()

    clearinghouse.take_back(listing_id)
    platform.sync()

    assert platform.actions() == []


def test_held_content_is_removed_once_the_listing_is_confirmed(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, {"unspread": HOLDING})
    platform.sync()
    platform.scan(altered(1), "post-1")
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()
    platform.carry_out()

    clearinghouse.confirm(listing_id)
    clearinghouse.publish()
    platform.sync()

    assert platform.actions() == [("remove", "post-1", listing_id)]
    platform.close()


def test_the_person_hears_what_was_received_found_removed_and_refused(platform, clearinghouse):
    platform.sync()
    platform.scan(altered(1), "post-1")
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()
    platform.carry_out()
    platform.scan(altered(1))
    platform.scan(picture(1))
    platform.send_feedback()

    said = sorted(
        (each.kind, each.listing_id, each.count) for each in clearinghouse.feedback.values()
    )
    assert said == [
        ("blocked", listing_id, 1),
        ("found", listing_id, 1),
        ("removed", listing_id, 1),
    ]
    assert [each.size for each in clearinghouse.acknowledged] == [len(clearinghouse.rows)]

    platform.send_feedback()
    assert len(clearinghouse.feedback) == 3
    assert len(clearinghouse.acknowledged) == 1


def test_a_platform_without_news_says_now_and_then_that_it_is_there(platform, clearinghouse):
    platform.sync()
    platform.send_feedback()
    platform.send_feedback()
    assert len(clearinghouse.acknowledged) == 1
    clearinghouse.now += timedelta(minutes=10)
    platform.send_feedback()
    first, second = clearinghouse.acknowledged
    assert first == second


def test_feedback_waits_for_a_clearinghouse_that_is_away(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    platform.scan(picture(1))
    clearinghouse.is_reachable = False
    with pytest.raises(Exception, match="does not answer"):
        platform.send_feedback()

    clearinghouse.is_reachable = True
    again = platform.restarted()
    again.send_feedback()

    assert [each.kind for each in clearinghouse.feedback.values()] == ["blocked"]
    again.close()


def test_a_restart_keeps_the_list_the_place_in_it_and_the_catalogue(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    platform.scan(picture(2), "post-2")
    again = platform.restarted()
    clearinghouse.requests.clear()

    assert again.scan(altered(1)).decision == "refuse"
    listing_id = clearinghouse.protect(picture(2))
    again.sync()
    assert again.actions() == [("remove", "post-2", listing_id)]
    again.close()


def test_a_level_change_changes_what_is_done(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, {"unspread": HOLDING})
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()
    assert platform.scan(altered(1)).decision == "hold"

    clearinghouse.confirm(listing_id)
    clearinghouse.publish()
    platform.sync()

    answer = platform.scan(altered(1))
    assert (answer.decision, answer.match.level) == ("refuse", Level.CONFIRMED)
    platform.close()


def test_a_list_that_does_not_hold_is_not_taken_and_the_old_one_stays(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    path = "feed/board/latest"
    good = clearinghouse.public.get(path)
    clearinghouse.public.put(path, good.replace(b"\n", b"\n ", 1))

    with pytest.raises(Exception, match=r".") as caught:
        platform.sync()

    assert type(caught.value).__mro__[1].__name__ in {"TrustError", "InputError"}
    assert platform.scan(altered(1)).decision == "refuse"


def test_a_listing_that_comes_between_match_and_catalogue_finds_the_upload(
    platform, clearinghouse, monkeypatch
):
    platform.sync()
    kit = platform.kit
    write_entry = type(kit)._write_entry

    async def listing_comes_first(kit, scanned, *how):
        clearinghouse.protect(picture(1))
        await asyncio.to_thread(platform.sync)
        await write_entry(kit, scanned, *how)

    monkeypatch.setattr(type(kit), "_write_entry", listing_comes_first)

    assert platform.scan(altered(1), "post-1").decision == "accept"
    assert platform.actions() == [("remove", "post-1", 0)]


def test_a_listing_that_is_withdrawn_during_the_search_leads_to_nothing(platform, clearinghouse):
    listing_id = clearinghouse.protect(picture(1))
    platform.sync()
    store = platform.kit.store
    as_searched_for = store.listing(0, listing_id)
    clearinghouse.take_back(listing_id)
    platform.sync()

    queued = store.record_findings(
        0,
        as_searched_for,
        [Finding("post-1", Kind.PDQ, 0)],
        ActionKind.REMOVE,
        rule="found before the withdrawal",
        origin=Origin.CATALOGUE,
        at=platform.now(),
    )

    assert queued == 0
    assert platform.actions() == []


def test_a_feed_without_end_is_cut_off(platform, clearinghouse):
    sent = []

    async def endless():
        while True:
            sent.append(65536)
            yield bytes(65536)

    clearinghouse.answers["feed/board/latest"] = lambda: httpx.Response(200, content=endless())
    with pytest.raises(TrustError):
        platform.sync()

    assert sum(sent) < 100 * 2**20


def test_a_listing_that_matches_much_of_the_catalogue_is_only_held(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, quarantine_listings_with_matches=2)
    platform.sync()
    for number in range(3):
        platform.scan(altered(1), f"post-{number}")

    clearinghouse.protect(picture(1))
    platform.sync()

    assert {action[0] for action in platform.actions()} == {"hold"}
    platform.close()


VIDEOS = Path(__file__).parents[3] / "vectors" / "videos"


def encoded_again(path: Path, codec: str, form: str, scale: float) -> bytes:
    """A smaller copy in another encoding, as a platform's users make them."""
    made = io.BytesIO()
    with av.open(str(path)) as source, av.open(made, "w", format=form) as target:
        video = source.streams.video[0]
        stream = target.add_stream(codec, rate=video.average_rate)
        stream.width, stream.height = (int(side * scale) // 2 * 2 for side in (320, 240))
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 400_000
        for at, frame in enumerate(source.decode(video)):
            shown = frame.reformat(stream.width, stream.height, "yuv420p")
            shown.pts, shown.time_base = at, 1 / video.average_rate
            target.mux(stream.encode(shown))
        target.mux(stream.encode())
    return made.getvalue()


@pytest.mark.parametrize(
    ("codec", "form"),
    [
        ("libx264", "mp4"),
        pytest.param("libvpx-vp9", "webm", marks=pytest.mark.long),  # slow to encode
    ],
)
def test_a_protected_video_is_refused_in_another_encoding_and_found_where_it_was_posted(
    platform, clearinghouse, codec, form
):
    copy = encoded_again(VIDEOS / "h264.mp4", codec, form, scale=0.75)
    platform.sync()
    platform.remember(copy, "posted")

    protected = fingerprint_file(VIDEOS / "h264.mp4")
    listing_id = clearinghouse.protect_fingerprints(protected.fingerprints, media=Media.VIDEO)
    platform.sync()

    answer = platform.scan(copy)
    assert (answer.decision, answer.match.kind, answer.match.part) == ("refuse", "pdq", "frame")
    assert answer.match.matched_frames == answer.match.frames > 1
    assert platform.actions() == [("remove", "posted", listing_id)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"g": "1000", "sc_threshold": "0"}, id="one keyframe, the card's"),
        pytest.param({"g": "72", "sc_threshold": "0"}, id="two keyframes"),
    ],
)
def test_videos_that_share_a_title_card_are_held_at_most(
    platform, clearinghouse, tmp_path, options
):
    card, scenes, others = 20, [21, 22, 23, 24, 25], [31, 32, 33, 34, 35]
    listed = tmp_path / "listed.mp4"
    listed.write_bytes(filmed([card, *scenes]))
    clearinghouse.protect_fingerprints(fingerprint_file(listed).fingerprints, media=Media.VIDEO)
    platform.sync()

    assert platform.scan(filmed([card, *scenes], crf="30", **options)).decision == "refuse"
    answer = platform.scan(filmed([card, *others], **options))
    assert (answer.decision, answer.match.matched_frames) == ("hold", 1)
    assert platform.scan(filmed(others, **options)).decision == "accept"


def test_a_cropped_video_is_refused_and_kept_without_guesses(platform, clearinghouse, tmp_path):
    listed = tmp_path / "listed.mp4"
    listed.write_bytes(filmed([51, 52, 53]))
    clearinghouse.protect_fingerprints(fingerprint_file(listed).fingerprints, media=Media.VIDEO)
    platform.sync()

    answer = platform.scan(filmed([51, 52, 53], crop=3))
    assert (answer.decision, answer.match.part) == ("refuse", "frame")
    assert answer.match.variant == "widened"
    platform.remember(filmed([61, 62, 63]), "posted")
    kept = [each for each in platform.kit.catalogue.probes_of("posted") if each.kind is Kind.PDQ]
    assert len(kept) == 8 * len({each.frame for each in kept})
