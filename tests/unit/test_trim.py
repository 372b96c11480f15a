import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unspread.fingerprint import fingerprint_image, pdq, scan_media
from unspread.fingerprint.trim import MAX_RECTANGLES, Rectangle, rectangles_of
from unspread.model import MATCH_RADIUS_BITS, Part
from unspread.testing.samples import encoded, landscape

PICTURE = landscape(3, 760, 570)


def saved(picture: Image.Image) -> np.ndarray:
    with Image.open(io.BytesIO(encoded(picture, quality=80))) as image:
        return np.asarray(image.convert("L"))


def on_a_phone(paper: str, ink: str) -> tuple[Image.Image, Rectangle]:
    canvas = Image.new("RGB", (760, 1600), paper)
    canvas.paste(PICTURE, (0, 500))
    draw = ImageDraw.Draw(canvas)
    draw.text((40, 30), "12:41", ink, font_size=36)
    draw.ellipse((40, 100, 110, 170), "teal")
    for x in range(60, 760, 160):
        draw.ellipse((x, 1480, x + 60, 1540), outline=ink, width=5)
    return canvas, Rectangle(500, 1070, 0, 760)


def in_a_chat() -> tuple[Image.Image, Rectangle]:
    canvas = Image.new("RGB", (1080, 2000), (11, 20, 26))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 1080, 200), (31, 44, 52))
    draw.text((180, 90), "Somebody", "white", font_size=48)
    draw.rounded_rectangle((40, 300, 620, 390), 24, (31, 44, 52))
    draw.rounded_rectangle((268, 548, 1052, 1190), 24, (0, 92, 75))
    canvas.paste(PICTURE, (280, 560))
    draw.text((940, 1140), "12:41", "white", font_size=30)
    return canvas, Rectangle(560, 1130, 280, 1040)


def on_a_page() -> tuple[Image.Image, Rectangle]:
    canvas = Image.new("RGB", (1500, 900), "white")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 1500, 90), (222, 225, 230))
    canvas.paste(PICTURE, (80, 150))
    for line in range(18):
        draw.text((900, 150 + 38 * line), "some words about a picture", "black", font_size=24)
    return canvas, Rectangle(150, 720, 80, 840)


def bordered(colour: str, *, left: int, top: int) -> tuple[Image.Image, Rectangle]:
    canvas = Image.new("RGB", (760 + 2 * left, 570 + 2 * top), colour)
    canvas.paste(PICTURE, (left, top))
    return canvas, Rectangle(top, top + 570, left, left + 760)


SHOWN = [
    pytest.param(on_a_phone("white", "black"), id="phone, light"),
    pytest.param(on_a_phone("#121212", "white"), id="phone, dark"),
    pytest.param(in_a_chat(), id="bubble of a chat, with round corners"),
    pytest.param(on_a_page(), id="page, beside text"),
    pytest.param(bordered("white", left=20, top=20), id="border"),
    pytest.param(bordered("black", left=0, top=300), id="letterbox"),
]


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("turn", [0, 1])
def test_a_picture_is_found_in_what_shows_it(shown, turn):
    canvas, place = shown
    pixels = saved(canvas)
    if turn:
        pixels = pixels.T
        place = Rectangle(place.left, place.right, place.top, place.bottom)
    assert any(each.is_near(place, 2) for each in rectangles_of(pixels)[1:])


@pytest.mark.parametrize("shown", SHOWN)
def test_a_shown_picture_matches_as_a_whole(shown):
    (listed,) = (each for each in fingerprint_image(encoded(PICTURE, "PNG")).fingerprints[:1])
    scan = scan_media(encoded(shown[0], quality=80), windows=False)
    assert set(scan.part_of_probe) == {Part.WHOLE}
    assert "trimmed" in scan.notes
    values = [scan.probe_bytes[at : at + 32] for at in range(0, len(scan.probe_bytes), 32)]
    assert min(pdq.distance_bits(listed.value, each) for each in values) <= MATCH_RADIUS_BITS


def test_a_plain_edge_of_the_picture_does_not_hide_where_its_border_ends():
    """The border on one side tells how wide it is on the other, where it runs into white."""
    pixels = np.asarray(PICTURE).copy()
    pixels[:120] = 255
    framed = np.full((610, 800, 3), 255, np.uint8)
    framed[20:590, 20:780] = pixels
    assert Rectangle(20, 590, 20, 780) in rectangles_of(framed)


def test_a_photograph_by_itself_is_not_searched_for_others():
    for seed in range(8):
        assert len(rectangles_of(np.asarray(landscape(seed, 900, 700)))) == 1


@pytest.mark.parametrize(
    "size", [(5, 5), (1, 1), (1, 3000), (3000, 2), (64, 64), (511, 70), (2340, 1080)]
)
@pytest.mark.parametrize("kind", ["plain", "noise", "stripes", "grid", "steps"])
def test_whatever_is_uploaded_guesses_are_few_and_inside(size, kind):
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    pixels = {
        "plain": np.full(size, 255),
        "noise": np.random.default_rng(1).integers(0, 256, size),
        "stripes": rows // 20 % 2 * 255,
        "grid": (rows // 40 % 2) * (columns // 40 % 2) * 200,
        "steps": rows // 30 * 20 % 256,
    }[kind].astype(np.uint8)
    found = rectangles_of(pixels)
    assert found[0] == Rectangle.whole(pixels)
    assert len(found) <= MAX_RECTANGLES
    for each in found:
        assert 0 <= each.top < each.bottom <= height
        assert 0 <= each.left < each.right <= width


def test_a_cropped_picture_in_a_screenshot_is_found_by_the_windows_of_what_is_shown():
    original = landscape(5, 1200, 900)
    canvas = Image.new("RGB", (720, 1600), "white")
    canvas.paste(original.crop((60, 50, 1140, 860)).resize((720, 540)), (0, 500))
    ImageDraw.Draw(canvas).text((40, 30), "12:41", "black", font_size=36)
    listed = [
        each.value
        for each in fingerprint_image(encoded(original, "PNG")).fingerprints
        if each.part is Part.WINDOW
    ]
    scan = scan_media(encoded(canvas))
    values = [scan.probe_bytes[at : at + 32] for at in range(0, len(scan.probe_bytes), 32)]
    nearest = min(pdq.distance_bits(one, other) for one in listed for other in values)
    assert nearest <= MATCH_RADIUS_BITS


@pytest.mark.parametrize("side", [128, 240])
def test_a_thumbnail_is_looked_up_enlarged(side):
    """Of pictures with fine detail PDQ takes single pixels of a thumbnail, and loses them."""
    whole, best = [], []
    for seed in range(2):
        original = landscape(seed, 960, 720)
        listed = fingerprint_image(encoded(original, "PNG")).fingerprints[0].value
        small = original.copy()
        small.thumbnail((side, side))
        scan = scan_media(encoded(small, quality=90), windows=False)
        values = [scan.probe_bytes[at : at + 32] for at in range(0, len(scan.probe_bytes), 32)]
        distances = [pdq.distance_bits(listed, each) for each in values]
        whole.append(min(distances[: len(pdq.ORIENTATIONS)]))
        best.append(min(distances))
    assert max(best) <= 16
    assert sum(best) < sum(whole)
