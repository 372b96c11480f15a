"""The organisation's helplines as a form's rows, kept in the file that the pages read."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from unspread.errors import InputError

FIELDS: Final[Mapping[str, str]] = {
    "name": "Name",
    "country": "Country (empty: every country)",
    "about": "What it does, in a sentence",
    "phone": "Telephone",
    "url": "Address, https://…",
    "hours": "When it answers",
    "ages": "For whom",
    "languages": "Languages, as codes: en es",
    "source": "Source: where this was read",
    "verified_on": "Day on which somebody called or looked",
}
"""What the form asks for, and how it is called there."""

HELP_FILE_NOTE: Final = "# Written by the console.\n"


def rows(toml: str) -> list[dict[str, str]]:
    """Every helpline of a file, as texts for a form.

    Raises:
        InputError: if it is not such a file.
    """
    try:
        entries = tomllib.loads(toml).get("entry", [])
        return [{field: _text(entry.get(field, "")) for field in FIELDS} for entry in entries]
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise InputError(f"the file of helplines cannot be read: {error}") from error


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def to_toml(entries: Sequence[Mapping[str, str]]) -> str:
    """The file with these helplines; those without a name are left out. Empty if there are none.

    Raises:
        InputError: for a day that is none.
    """
    parts = [_entry(each) for each in entries if each.get("name", "").strip()]
    return HELP_FILE_NOTE + "".join(parts) if parts else ""


def _entry(texts: Mapping[str, str]) -> str:
    lines = ["", "[[entry]]"]
    for field in FIELDS:
        text = " ".join(texts.get(field, "").split())
        if not text:
            continue
        lines.append(f"{field} = {_value(field, text, texts['name'])}")
    return "\n".join(lines) + "\n"


def _value(field: str, text: str, name: str) -> str:
    if field == "verified_on":
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise InputError(f"{name}: a day is written like 2026-11-23") from None
    # A JSON string is a TOML basic string, as long as DEL is escaped too.
    if field == "languages":
        return json.dumps(text.replace(",", " ").split(), ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
