"""What the pages need from the clearinghouse that serves them, and from who runs it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from unspread.case_protocol import About
from unspread.errors import InputError

COLOUR_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Branding:
    """Who runs this clearinghouse, as a person sees it. Everything may be left as it is."""

    name: str = "Unspread"
    """Shown in the head of every page."""
    title: str = "Help"
    """The browser's title: neutral, since a history or an app switcher shows it."""
    colour: str = "#1d5b79"
    """Of buttons and links, `#rrggbb`; white text must be readable on it (WCAG: 4.5 to 1)."""
    contact: str = ""
    """A line of text: how to reach the organisation."""
    message: str = ""
    """A paragraph of its own on the first page."""
    neutral_url: str = "https://www.wikipedia.org/"
    """Where *Leave now* ends: a page that anyone may be looking at, never a personal one."""
    languages: tuple[str, ...] = ()
    """Codes of the languages offered, in this order; empty: all that there are."""
    help_file: Path | None = None
    """An operator's own copy of data/help.toml."""

    def __post_init__(self) -> None:
        digits = self.colour.removeprefix("#")
        if len(digits) != COLOUR_DIGITS or not digits.isalnum() or self.colour[:1] != "#":
            raise InputError("a colour is written #rrggbb")
        red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
        if contrast_with_white(red, green, blue) < 4.5:
            raise InputError("white text cannot be read on this colour: take a darker one")


@dataclass(frozen=True, slots=True)
class PageServices:
    """The clearinghouse behind the pages; the Django setting UNSPREAD_PAGES holds one."""

    about: Callable[[], About]
    challenge: Callable[[], str]
    """JSON text of a fresh proof-of-work challenge, as `GET /v1/proof-of-work` answers it."""
    branding: Branding = field(default_factory=Branding)


def services() -> PageServices:
    """Those of this process."""
    found: PageServices = settings.UNSPREAD_PAGES
    return found


def contrast_with_white(red: int, green: int, blue: int) -> float:
    """Contrast ratio, 1..21, of white text on a colour of three bytes (WCAG 2.2, definitions)."""
    channels = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (red / 255, green / 255, blue / 255)
    )
    weights = (0.2126, 0.7152, 0.0722)
    luminance = sum(weight * channel for weight, channel in zip(weights, channels, strict=True))
    return 1.05 / (luminance + 0.05)
