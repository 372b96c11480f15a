"""What the organisation says on the person's pages, edited on the console."""

import os
from collections.abc import Callable
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


def save(settings: Settings, texts: Texts, check_helplines: Callable[[Path], None]) -> None:
    """Keep the texts.

    Args:
        check_helplines: raises for a file of helplines that the pages could not show.

    Raises:
        InputError: if one is too long, or the helplines are wrong; then nothing is changed.
    """
    if max(len(texts.contact), len(texts.message), len(texts.neutral_url)) > MAX_CHARACTERS:
        raise InputError(f"a text has at most {MAX_CHARACTERS} characters")
    if texts.neutral_url and not texts.neutral_url.startswith("https://"):
        raise InputError("the page to leave to begins with https://")
    if len(texts.helplines) > MAX_HELPLINES:
        raise InputError("too many helplines")
    own = helplines_file(settings)
    if texts.helplines.strip():
        temporary = _written(own, texts.helplines.encode())
        try:
            check_helplines(temporary)
        except InputError:
            temporary.unlink()
            raise
        temporary.replace(own)
    else:
        own.unlink(missing_ok=True)
    path = _path(settings)
    _written(path, msgspec.json.encode(texts)).replace(path)


def _written(path: Path, content: bytes) -> Path:
    """The content in a file beside `path`, to be moved there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    return temporary
