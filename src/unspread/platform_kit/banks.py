"""Local banks: what a platform's own people list, or allow.

A bank is a list like any other; its entries are named by the people who add them, so that they
can be taken out again. A running server sees a change within half a second.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from unspread.crypto import ITEM_KEY_DIGEST_BYTES
from unspread.errors import InputError
from unspread.fingerprint.result import MediaScan
from unspread.model import (
    MIN_PDQ_QUALITY,
    Age,
    Fingerprint,
    Kind,
    Level,
    Listing,
    ListingId,
    Media,
    Part,
    State,
)
from unspread.platform_kit.settings import Settings, Source
from unspread.platform_kit.store import Store

MAX_NAME_CHARACTERS: Final = 200


def fingerprints_of(scan: MediaScan) -> tuple[Fingerprint, ...]:
    """What to list of a picture or video that a confined worker looked at.

    The picture as it stands, or the frames that were sampled; and the digests of the file.
    """
    part = Part.WHOLE if scan.media is Media.IMAGE else Part.FRAME
    found: list[Fingerprint] = []
    before = -1
    for at, frame in enumerate(scan.frame_of_probe):
        if frame != before and scan.qualities[at] >= MIN_PDQ_QUALITY:
            value = scan.probe_bytes[32 * at : 32 * at + 32]
            found.append(Fingerprint(Kind.PDQ, value, part, scan.qualities[at]))
        before = frame
    return (*found, *scan.digests)


class UnknownEntryError(InputError):
    """The bank has no entry of this name."""


class LocalBank:
    """One bank in the store."""

    def __init__(self, settings: Settings, store: Store, name: str) -> None:
        """A bank that the settings name.

        Raises:
            InputError: if they do not, or name it for another source.
        """
        own = settings.lists.get(name)
        if own is None or own.source is not Source.LOCAL:
            raise InputError(
                f'there is no local bank {name}: add [lists.{name}] with source = "local"'
                " to the settings"
            )
        self._level = own.level
        self._store = store
        self._name = name
        self._number = store.list_number(name, Source.LOCAL)

    def add(
        self,
        entry: str,
        media: Media,
        fingerprints: Sequence[Fingerprint],
        *,
        by: str,
        at: datetime,
    ) -> ListingId:
        """List fingerprints under a name, in the place of what it meant before.

        Raises:
            InputError: for an unusable name, or no fingerprints.
        """
        if not 0 < len(entry) <= MAX_NAME_CHARACTERS or not entry.isprintable():
            raise InputError(f"an entry's name has 1 to {MAX_NAME_CHARACTERS} characters")
        if not fingerprints:
            raise InputError("there is no fingerprint to list")
        (listing_id,) = self._store.listing_ids(self._number, [entry])
        level = Level.CONFIRMED if self._level is Level.UNVERIFIED else self._level
        listing = Listing(
            listing_id,
            media,
            Age.UNKNOWN,
            tuple(fingerprints),
            level,
            State.LISTED,
            at,
            bytes(ITEM_KEY_DIGEST_BYTES),
        )
        self._write(listing, entry, at)
        self._store.audit(by, f"add to bank {self._name}", str(listing_id), at)
        return listing_id

    def remove(self, entry: str, *, by: str, at: datetime) -> None:
        """Take an entry out; its fingerprints are erased.

        Raises:
            UnknownEntryError: if there is none of this name.
        """
        listing = self._store.listing_by_key(self._number, entry)
        if listing is None or not listing.is_active:
            raise UnknownEntryError("the bank has no entry of this name")
        gone = Listing(
            listing.listing_id,
            listing.media,
            listing.age,
            (),
            listing.level,
            State.REMOVED,
            listing.listed_at,
            listing.item_key_digest,
        )
        self._write(gone, entry, at)
        self._store.audit(by, f"remove from bank {self._name}", str(listing.listing_id), at)

    def _write(self, listing: Listing, entry: str, at: datetime) -> None:
        self._store.apply(self._number, [listing], cursor=b"", size=0, root="", at=at, keys=[entry])
        self._store.checked(self._number, at)
