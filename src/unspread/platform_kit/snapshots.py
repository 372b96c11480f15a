"""Snapshots of the bank: a quick start, and one copy in memory for all replicas on a machine.

`DATA/snapshots/current` names the directory in use. A snapshot is only a shortcut: what changed
after it comes from the store, and a bank without one is filled from the store alone.
"""

import shutil
from pathlib import Path
from typing import Final

import msgspec
import structlog

from unspread.match import SnapshotError
from unspread.platform_kit.bank import Bank, SavedBank
from unspread.platform_kit.store import Store

log = structlog.get_logger("unspread.platform")

_DIRECTORY: Final = "snapshots"
_CURRENT: Final = "current"
_FORM: Final = 1


class _About(msgspec.Struct, frozen=True):
    form: int
    directory: str
    sequence: int
    instance: int
    """Of the store that it was made from."""


def exists(data: Path) -> bool:
    """Whether there is a snapshot, of whatever worth."""
    return (data / _DIRECTORY / _CURRENT).exists()


def current(data: Path) -> str:
    """Which snapshot is the newest; empty if there is none."""
    try:
        return (data / _DIRECTORY / _CURRENT).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def save(data: Path, store: Store, bank: SavedBank) -> None:
    """Write a snapshot and make it the current one; older ones are deleted.

    One process at a time: the one that follows the lists.

    Raises:
        OSError: if it cannot be written; the one before stays.
    """
    root = data / _DIRECTORY
    about = _About(_FORM, f"{bank.sequence}", bank.sequence, store.counter("instance"))
    target = root / about.directory
    shutil.rmtree(target, ignore_errors=True)
    bank.save(target)
    partial = root / f"{_CURRENT}.part"
    partial.write_bytes(msgspec.json.encode(about))
    partial.replace(root / _CURRENT)
    for old in root.iterdir():
        if old.is_dir() and old != target:
            shutil.rmtree(old, ignore_errors=True)


def load(data: Path, store: Store, names: dict[int, str]) -> Bank | None:
    """The bank of the current snapshot, if there is one that fits the store."""
    root = data / _DIRECTORY
    try:
        about = msgspec.json.decode((root / _CURRENT).read_bytes(), type=_About)
        fits = (about.form, about.instance) == (_FORM, store.counter("instance"))
        if not fits or about.sequence > store.sequence():
            return None
        return Bank.open(root / about.directory, names, about.sequence)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, SnapshotError, msgspec.MsgspecError) as error:
        log.warning("the snapshot cannot be used", problem=type(error).__name__)
        return None
