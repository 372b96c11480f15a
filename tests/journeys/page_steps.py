"""What a person does on the page, in one call each; and benign pictures to do it with."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect


def picture(seed: int = 1, side: int = 40) -> Image.Image:
    """Blocks of colour, different for each seed."""
    blocks = np.random.default_rng(seed).random((12, 16, 3))
    return Image.fromarray((np.kron(blocks, np.ones((side, side, 1))) * 255).astype("uint8"))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def choose(page: Page, *files: bytes) -> None:
    page.get_by_label("I am not sure").check()
    page.get_by_role("button", name="Next").click()
    page.locator("#files").set_input_files(
        [
            {"name": f"anna-{number}.jpg", "mimeType": "image/jpeg", "buffer": file}
            for number, file in enumerate(files)
        ]
    )


def send(page: Page) -> str:
    """From a finished choice to the receipt's text."""
    expect(page.get_by_text("Everything is ready.")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="It is sent")).to_be_visible()
    return page.locator("#receipt").inner_text()


def open_case(open_page: Callable[..., Page], receipt: str) -> Page:
    page = open_page("/en/status")
    page.get_by_label("Your receipt").fill(receipt)
    page.get_by_role("button", name="Show").click()
    return page
