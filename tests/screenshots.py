"""Screenshots of every step for docs/person, in English and Arabic: `make screenshots`."""

import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.journeys.conftest import CHROMIUM_ARGUMENTS, PHONE
from tests.journeys.page_stand import Stand, page_stand
from tests.journeys.test_page_for_everyone import walk

FOLDER: Final = Path(__file__).parents[1] / "docs/person"
READING: Final = {
    "": "start",
    "now": "threat",
    "safe": "safe",
    "how": "how",
    "help": "help",
    "letter": "letter",
}
OVERVIEW: Final = ("start", "2-choose", "4-check", "5-receipt")
COLOURS: Final = 32
"""Enough for flat colours; a picture is then some 15 kB."""


def save(page: Page, name: str) -> None:
    """The whole page, small."""
    png = Image.open(BytesIO(page.screenshot(full_page=True)))
    png.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        FOLDER / f"{name}.png", optimize=True
    )


def take(page: Page, stand: Stand, language: str) -> None:
    """Every page and step in one language."""
    for path, name in READING.items():
        page.goto(f"{stand.url}/{language}/{path}")
        save(page, f"{language}-{name}")
    stand.platforms[:] = [
        {
            "name": "Board",
            "received_at": "2026-11-23T06:00:00Z",
            "removed_at": "2026-11-24T06:00:00Z",
        }
    ]
    for number, step in enumerate(walk(page, stand, language), 1):
        save(page, f"{language}-{number}-{step}")


def overview() -> None:
    """Four steps side by side, for the README."""
    steps = [Image.open(FOLDER / f"en-{each}.png").convert("RGB") for each in OVERVIEW]
    width, height, gap = PHONE["width"], PHONE["height"], 24
    sheet = Image.new("RGB", (len(steps) * (width + gap) - gap, height), "white")
    for number, step in enumerate(steps):
        sheet.paste(step.crop((0, 0, width, height)), (number * (width + gap), 0))
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / "overview.png", optimize=True)


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as data,
        page_stand(Path(data)) as stand,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS
        )
        for language in ("en", "ar"):
            page = browser.new_page(viewport=PHONE, locale=language)
            take(page, stand, language)
            page.close()
        browser.close()
    overview()


if __name__ == "__main__":
    main()
