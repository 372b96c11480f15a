"""What the pages need from the clearinghouse that serves them, and from who runs it."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

from unspread.case_protocol import About
from unspread.clearinghouse.pages.languages import translated
from unspread.errors import InputError

COLOUR_DIGITS: Final = 6
MIN_CONTRAST: Final = 4.5
"""Of text on its background (WCAG 2.2, 1.4.3)."""

FILE_NAME: Final = "branding.toml"
"""In the clearinghouse's data directory, with the fields of `Branding`; may be left out."""


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
        is_hex = all(each in "0123456789abcdefABCDEF" for each in digits)
        if len(digits) != COLOUR_DIGITS or not is_hex or self.colour[:1] != "#":
            raise InputError("a colour is written #rrggbb")
        red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
        if contrast_with_white(red, green, blue) < MIN_CONTRAST:
            raise InputError("white text cannot be read on this colour: take a darker one")
        unknown = set(self.languages) - set(translated())
        if unknown:
            raise InputError(f"there is no translation to {', '.join(sorted(unknown))}")
        if urlsplit(self.neutral_url).scheme != "https":
            raise InputError("the neutral page's address should begin with https://")

    @classmethod
    def read(cls, data: Path, **others: Any) -> "Branding":
        """What branding.toml in `data` says, and `others` where they say anything.

        Raises:
            InputError: for a field that there is not, or of another kind.
        """
        path = data / FILE_NAME
        others = {name: value for name, value in others.items() if value}
        if not path.exists():
            return cls(**others)
        try:
            said: dict[str, Any] = tomllib.loads(path.read_text())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{FILE_NAME} cannot be read: {error}") from error
        unknown = said.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise InputError(f"{FILE_NAME} has unknown fields: {', '.join(sorted(unknown))}")
        languages = said.pop("languages", None)
        if languages is not None:
            said["languages"] = tuple(languages)
        if not all(isinstance(value, str | tuple) for value in said.values()):
            raise InputError(f"{FILE_NAME}: every field is a text, languages a list of texts")
        if "help_file" in said:
            said["help_file"] = data / said["help_file"]
        return cls(**(said | others))


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
