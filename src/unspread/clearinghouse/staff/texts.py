"""What the organisation says on the person's pages, edited on the console."""

import os
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from unspread.clearinghouse.settings import Settings
from unspread.errors import InputError

MAX_CHARACTERS: Final = 2000
MAX_HELPLINES: Final = 200_000


class Texts(msgspec.Struct, frozen=True):
    """Everything that an editor may change. Empty: as the package has it."""

    contact: str = ""
    message: str = ""
    neutral_url: str = ""
    helplines: str = ""
    """TOML, in the form of pages/data/help.toml."""


def _path(settings: Settings) -> Path:
    return settings.data / "texts.json"


def helplines_file(settings: Settings) -> Path:
    """Where the pages read the organisation's own helplines, if there are any."""
    return settings.data / "help.toml"


def load(settings: Settings) -> Texts:
    """The texts as saved."""
    try:
        return msgspec.json.decode(_path(settings).read_bytes(), type=Texts)
    except FileNotFoundError:
        return Texts()
    except msgspec.DecodeError:
        raise InputError("texts.json in the data directory is damaged") from None


def save(settings: Settings, texts: Texts) -> None:
    """Keep the texts.

    Raises:
        InputError: if one is too long, or the helplines are not TOML.
    """
    if max(len(texts.contact), len(texts.message), len(texts.neutral_url)) > MAX_CHARACTERS:
        raise InputError(f"a text has at most {MAX_CHARACTERS} characters")
    if texts.neutral_url and not texts.neutral_url.startswith("https://"):
        raise InputError("the page to leave to begins with https://")
    if len(texts.helplines) > MAX_HELPLINES:
        raise InputError("too many helplines")
    try:
        tomllib.loads(texts.helplines)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the helplines are not TOML: {error}") from None
    _replace(_path(settings), msgspec.json.encode(texts))
    if texts.helplines.strip():
        _replace(helplines_file(settings), texts.helplines.encode())
    else:
        helplines_file(settings).unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
