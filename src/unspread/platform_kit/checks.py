"""`unspread platform check`: whether everything is in order, in words; changes nothing."""

import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from unspread.errors import StateError, UnspreadError
from unspread.fingerprint.confined import Confined
from unspread.match import kernel_name
from unspread.platform_kit.app import utc_now
from unspread.platform_kit.enrolment import memberships
from unspread.platform_kit.programmes import credentials_from
from unspread.platform_kit.settings import Settings, Source
from unspread.platform_kit.store import FILE_NAME, Store

_GROUP_OR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Result:
    """One thing that was looked at."""

    is_good: bool
    text: str


def findings(settings: Settings) -> Iterator[Result]:
    """Everything that can be said from here; settings have been read, so they are good."""
    yield Result(True, "settings")
    yield Result(True, f"matching kernel: {kernel_name()}")
    if not (settings.data / FILE_NAME).exists():
        yield Result(False, f"nothing was served from {settings.data} yet")
        return
    yield from _files(settings.data)
    with Confined(1) as pool:
        bound = pool.confinement()
    yield Result(bound.rlimits, "scan workers are bound in memory and time")
    yield Result(bound.seccomp, "scan workers have no network and change nothing (seccomp)")
    files = "open no files but the program's own" if bound.landlock else "may read files"
    yield Result(True, f"scan workers {files} (Landlock)")
    store = Store(settings.data)
    try:
        yield from _database(store)
        yield from _lists(settings, store, utc_now())
        waiting, oldest, unsent = store.waiting()
        dead = len(store.dead_actions())
        since = f", the oldest of {oldest:%Y-%m-%d %H:%M} UTC" if oldest else ""
        yield Result(not dead, f"{waiting} actions wait{since}; {dead} failed for good")
        yield Result(True, f"{unsent} pieces of feedback wait")
    finally:
        store.close()
    yield Result(
        settings.webhook is not None or bool(settings.actions),
        "somebody is told of actions (webhook, or [[actions]])",
    )


def _files(data: Path) -> Iterator[Result]:
    exposed = [
        path.relative_to(data)
        for pattern in ("*.sqlite3", "keys/*", "lists/*.json")
        for path in data.glob(pattern)
        if path.stat().st_mode & _GROUP_OR_OTHERS
    ]
    names = ", ".join(map(str, exposed))
    yield Result(not exposed, f"others can read {names}" if exposed else "keys are private")


def _database(store: Store) -> Iterator[Result]:
    try:
        answer = store.read(lambda c: c.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        answer = str(error)
    yield Result(answer == "ok", f"database: {answer}")


def _lists(settings: Settings, store: Store, now: datetime) -> Iterator[Result]:
    states = {each.name: each for each in store.lists()}
    try:
        joined = [name for name, _ in memberships(settings.data)]
    except StateError as error:
        yield Result(False, str(error))
        joined = []
    others = [name for name, one in settings.lists.items() if one.source is not Source.FEED]
    if not joined and not others:
        yield Result(False, "no list is followed: unspread platform enroll")
    for name in [*joined, *others]:
        one, state = settings.list_settings(name), states.get(name)
        if one.source not in {Source.FEED, Source.LOCAL}:
            try:
                credentials_from(settings.data, one)
            except UnspreadError as error:
                yield Result(False, f"list {name}: {error}")
        if state is None or state.checked_at is None:
            yield Result(one.source is Source.LOCAL, f"list {name}: not fetched yet")
            continue
        age = (now - state.checked_at).total_seconds()
        is_fresh = one.source is Source.LOCAL or age <= one.stale_after_seconds
        count = store.active_count(state.number)
        notes = "".join(
            f", {note}" for note, on in (("shadow", one.shadow), ("off", not one.enabled)) if on
        )
        yield Result(is_fresh, f"list {name}: {count} listings, current {int(age)} s ago{notes}")
