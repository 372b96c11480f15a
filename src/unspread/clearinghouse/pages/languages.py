"""The languages of the pages."""

from functools import cache
from pathlib import Path
from typing import Final

NAMES: Final = {
    "en": "English",
    "ar": "العربية",
    "bn": "বাংলা",
    "de": "Deutsch",
    "es": "Español",
    "fa": "فارسی",
    "fr": "Français",
    "he": "עברית",
    "hi": "हिन्दी",
    "id": "Bahasa Indonesia",
    "it": "Italiano",
    "ja": "日本語",
    "ko": "한국어",
    "nl": "Nederlands",
    "pl": "Polski",
    "pt-br": "Português (Brasil)",
    "ro": "Română",
    "ru": "Русский",
    "sv": "Svenska",
    "sw": "Kiswahili",
    "th": "ไทย",
    "tl": "Filipino",
    "tr": "Türkçe",
    "uk": "Українська",
    "ur": "اردو",
    "vi": "Tiếng Việt",
    "zh-hans": "简体中文",
}
"""Code, as in the address → the language's name in itself."""

RIGHT_TO_LEFT: Final = frozenset({"ar", "fa", "he", "ur"})
EUROPEAN: Final = frozenset({"de", "fr", "it", "nl", "pl", "ro", "sv"})
"""Spoken mostly in the European Union: its law is the first choice there. Spanish is not."""
FALLBACK: Final = "en"
REVIEWED: Final = frozenset({"en"})
"""Languages whose texts a person who speaks them has read. The others were translated by a
machine, and every page of theirs says so."""
_LOCALE: Final = Path(__file__).parent / "locale"


@cache
def translated() -> tuple[str, ...]:
    """Codes of the languages that the package has a compiled catalogue of, English first."""
    others = (code for code in NAMES if code != FALLBACK)
    return (FALLBACK, *(code for code in others if _catalogue(code).exists()))


def _catalogue(code: str) -> Path:
    name, _, part = code.partition("-")
    folder = f"{name}_{part.upper() if len(part) == 2 else part.title()}" if part else name
    return _LOCALE / folder / "LC_MESSAGES/django.mo"


def choose(accept_language: str, offered: tuple[str, ...]) -> str:
    """The offered language that a browser's Accept-Language prefers, else the first offered."""
    wishes = []
    for part in accept_language.lower().split(","):
        tag, _, weight = part.strip().partition(";q=")
        try:
            wishes.append((-float(weight or 1), tag))
        except ValueError:
            continue
    for _, tag in sorted(wishes, key=lambda wish: wish[0]):
        for code in offered:
            if code == tag or code.partition("-")[0] == tag.partition("-")[0]:
                return code
    return FALLBACK if FALLBACK in offered else offered[0]
