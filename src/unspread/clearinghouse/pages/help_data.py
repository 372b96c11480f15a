"""Who helps, read from a file that an operator edits."""

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from unspread.errors import InputError

SHIPPED: Final = Path(__file__).parent / "data/help.toml"
STALE_AFTER: Final = timedelta(days=180)
"""Helplines change their numbers: an entry nobody looked at for half a year is marked."""

_TEXTS: Final = ("name", "about", "country", "phone", "url", "hours", "ages", "source")


@dataclass(frozen=True, slots=True)
class HelpEntry:
    """One place that helps."""

    name: str
    about: str
    source: str
    """Where this was read: an address that the operator can look at again."""
    country: str = ""
    """As its people write it; empty for every country."""
    phone: str = ""
    url: str = ""
    hours: str = ""
    ages: str = ""
    languages: tuple[str, ...] = ()
    verified_on: date | None = None
    is_stale: bool = True

    def __post_init__(self) -> None:
        if not self.name or not self.source:
            raise InputError("every helpline needs a name and its source")
        if not (self.phone or self.url):
            raise InputError(f"{self.name}: a helpline needs a number or an address")
        if self.url and _scheme_and_host(self.url)[0] != "https":
            raise InputError(f"{self.name}: its address should begin with https://")

    @property
    def phone_digits(self) -> str:
        """For a `tel:` link."""
        return "".join(each for each in self.phone if each.isdigit() or each == "+")

    @property
    def source_site(self) -> str:
        """The source in short: whose site it is, or the words that the operator wrote."""
        return _scheme_and_host(self.source)[1] or self.source


def _scheme_and_host(address: str) -> tuple[str, str]:
    """Empty where `address` is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "", ""
    return parts.scheme, parts.hostname or ""


def read_help(path: Path, today: date) -> list[tuple[str, list[HelpEntry]]]:
    """Entries by country, every country's first, in alphabetical order.

    Raises:
        InputError: saying which entry is wrong.
    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the file of helplines cannot be read: {error}") from error
    unknown = content.keys() - {"entry"}
    if unknown:
        raise InputError(f"the file of helplines has unknown parts: {', '.join(sorted(unknown))}")
    entries = [_entry(raw, today) for raw in content.get("entry", [])]
    entries.sort(key=lambda each: (each.country != "", each.country))
    return [(country, list(each)) for country, each in groupby(entries, lambda one: one.country)]


def _entry(raw: dict[str, Any], today: date) -> HelpEntry:
    name = str(raw.get("name", "without a name"))
    unknown = raw.keys() - {*_TEXTS, "languages", "verified_on"}
    if unknown:
        raise InputError(f"{name}: unknown {', '.join(sorted(unknown))}")
    texts = {key: str(raw[key]) for key in _TEXTS if key in raw}
    verified_on = raw.get("verified_on")
    if verified_on is not None and type(verified_on) is not date:
        raise InputError(f"{name}: verified_on is a day, like 2026-11-23, without quotes")
    if "name" not in texts or "source" not in texts:
        raise InputError(f"{name}: every helpline needs a name and its source")
    return HelpEntry(
        **({"about": ""} | texts),
        languages=tuple(raw.get("languages", ())),
        verified_on=verified_on,
        is_stale=verified_on is None or today - verified_on > STALE_AFTER,
    )
