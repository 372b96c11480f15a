"""An extension of `threatexchange`: its command line and HMA follow a clearinghouse with it.

    pip install 'unspread[threatexchange]'
    threatexchange config extensions add unspread.exchange.tx_extension

Two exchanges come with it. `unspread` follows the clearinghouse's own feed: what it hands out has
been checked against the signed log, and a withdrawal against the key of the person whose item it
is. `ncmec_at` is the published client of NCMEC's protocol with an address of its own, which the
published configuration cannot give, and with times in UTC wherever it runs.
"""

import base64
import binascii
import logging
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import httpx
import msgspec
from threatexchange.exchanges import auth
from threatexchange.exchanges import fetch_state as fetched
from threatexchange.exchanges.clients.ncmec import hash_api
from threatexchange.exchanges.collab_config import CollaborationConfigWithDefaults
from threatexchange.exchanges.impl import ncmec_api
from threatexchange.exchanges.signal_exchange_api import SignalExchangeAPI
from threatexchange.extensions.manifest import ThreatExchangeExtensionManifest
from threatexchange.signal_type.md5 import VideoMD5Signal
from threatexchange.signal_type.pdq.signal import PdqSignal
from threatexchange.signal_type.sha256 import VideoSHA256Signal
from threatexchange.signal_type.signal_base import SignalType

from unspread.crypto import OpeningKey
from unspread.errors import InputError, TransportError
from unspread.exchange.listings import digest, picture_fingerprints
from unspread.exchange.ncmec import time_text
from unspread.exchange.transfer import TIMEOUT_SECONDS
from unspread.feed.reader import Event, FeedReader, ListingAdded, ListingChanged, Request
from unspread.model import ACTIVE_STATES, Kind, Level, Listing, ListingId, Media, State
from unspread.transparency.policy import trial_policy

_ENDED: Final = frozenset({State.WITHDRAWN, State.EXPIRED, State.REMOVED})

log = logging.getLogger(__name__)


# --- our own feed -------------------------------------------------------------------------------


@dataclass
class UnspreadCollabConfig(CollaborationConfigWithDefaults):
    """One clearinghouse. Where it is and what it is trusted by stands in the credentials."""

    api: str = field(init=False, default="unspread")
    state_dir: str = field(
        default="~/.unspread_tx",
        metadata={"help": "where to keep what was told, to check withdrawals against"},
    )
    windows: int = field(
        default=0,
        metadata={"help": "1: match parts of pictures too; hold such a match for a person to see"},
    )


@dataclass
class UnspreadCredentials(auth.CredentialHelper):
    """What `unspread platform enroll` wrote: the JSON of DIR/lists/NAME.json, as text."""

    ENV_VARIABLE: ClassVar[str] = "TX_UNSPREAD_MEMBERSHIP"
    FILE_NAME: ClassVar[str] = "~/.tx_unspread_membership"

    partner_id: str = field(metadata={"help": "what the clearinghouse calls you"})
    feed: str = field(metadata={"help": "address below which the feed is"})
    log_origin: str = field(metadata={"help": "name of the clearinghouse's log"})
    log_key: str = field(metadata={"help": "public key of the clearinghouse's log, base64url"})
    opening_secret: str = field(metadata={"help": "opens what is sealed to you, base64url"})

    @classmethod
    def _from_str(cls, s: str) -> "UnspreadCredentials":
        # Read as a whole: a field that was left out must not become an empty string.
        return msgspec.convert(msgspec.json.decode(s), cls)

    def _are_valid(self) -> bool:
        return all((self.partner_id, self.feed, self.log_origin, self.log_key))

    def __repr__(self) -> str:
        return f"UnspreadCredentials({self.partner_id}, {self.feed})"


@dataclass
class UnspreadCheckpoint(fetched.FetchCheckpointBase):
    """A place in the feed. It never grows stale: a withdrawal reaches whoever was away."""

    state: str = ""
    """`FeedReader.state()`, base64."""
    size: int = 0
    """Entries of the log that have been handed out."""
    at: int = 0
    """When, in seconds since 1970."""

    def get_progress_timestamp(self) -> int | None:
        """When the list was last known to be complete up to `size`."""
        return self.at or None


@dataclass
class UnspreadRecord:
    """One listing in its newest state, whole: HMA replaces a record and merges nothing."""

    level: str
    state: str
    signals: list[str]
    """`pdq:hex` and the like: name of the signal type and value."""


@dataclass
class UnspreadSignalMetadata(fetched.FetchedSignalMetadata):
    """Which listings have a signal, and how far each is corroborated."""

    levels: dict[str, str]

    def get_as_opinions(self) -> Sequence[fetched.SignalOpinion]:
        """Unverified is a seed for investigation; confirmed is a yes; disputed is a yes and no."""
        return [
            fetched.SignalOpinion(False, category, {level})
            for level in sorted(set(self.levels.values()))
            for category in _CATEGORIES[Level(level)]
        ]


_CATEGORIES: Final = {
    Level.QUARANTINED: (fetched.SignalOpinionCategory.INVESTIGATION_SEED,),
    Level.UNVERIFIED: (fetched.SignalOpinionCategory.INVESTIGATION_SEED,),
    Level.CONFIRMED: (fetched.SignalOpinionCategory.POSITIVE_CLASS,),
    Level.CORROBORATED: (fetched.SignalOpinionCategory.POSITIVE_CLASS,),
    Level.DISPUTED: (
        fetched.SignalOpinionCategory.POSITIVE_CLASS,
        fetched.SignalOpinionCategory.NEGATIVE_CLASS,
    ),
}


class Remembered:
    """What was told of each listing: to check withdrawals against, and to tell it whole again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path, timeout=30)
        self._database.executescript(
            "PRAGMA secure_delete=ON; PRAGMA journal_mode=DELETE;"
            "CREATE TABLE IF NOT EXISTS listing (listing_id INTEGER PRIMARY KEY,"
            " item_key_digest BLOB, level TEXT, state TEXT, signals TEXT)"
        )

    def item_key_digest(self, listing_id: ListingId) -> bytes | None:
        """One listing's; None if it was never told."""
        row = self._database.execute(
            "SELECT item_key_digest FROM listing WHERE listing_id = ?", (listing_id,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered, as after the file was lost."""
        return self._database.execute("SELECT 1 FROM listing LIMIT 1").fetchone() is None

    def clear(self) -> None:
        """Forget all."""
        with self._database:
            self._database.execute("DELETE FROM listing")

    def apply(self, events: Sequence[Event], *, windows: bool) -> dict[str, UnspreadRecord | None]:
        """Remember what the events say; each listing's newest record, None for what has ended.

        The same events again give the same records: a host may have crashed before it stored them.
        """
        touched: dict[ListingId, None] = {}
        with self._database:
            for event in events:
                if isinstance(event, ListingAdded):
                    each = event.listing
                    signals = " ".join(_signals(each, windows=windows))
                    self._database.execute(
                        "INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?, ?)",
                        (each.listing_id, each.item_key_digest, each.level, each.state, signals),
                    )
                    touched[each.listing_id] = None
                elif isinstance(event, ListingChanged):
                    self._database.execute(
                        "UPDATE listing SET level = ?, state = ? WHERE listing_id = ?",
                        (event.level, event.state, event.listing_id),
                    )
                    touched[event.listing_id] = None
            updates = {str(each): self._record(each) for each in touched}
            # What has ended keeps the digest of its key and nothing that was computed from it.
            self._database.execute(
                "UPDATE listing SET signals = '' WHERE signals <> '' AND state IN (?, ?, ?)",
                sorted(_ENDED),
            )
        return updates

    def drop_all_but(self, kept: Collection[int]) -> dict[str, UnspreadRecord | None]:
        """End what another scope no longer covers; None for each."""
        rows = self._database.execute(
            "SELECT listing_id FROM listing WHERE state NOT IN (?, ?, ?)", sorted(_ENDED)
        ).fetchall()
        gone = [listing_id for (listing_id,) in rows if listing_id not in kept]
        with self._database:
            self._database.executemany(
                "UPDATE listing SET state = ?, signals = '' WHERE listing_id = ?",
                [(State.EXPIRED, each) for each in gone],
            )
        return {str(each): None for each in gone}

    def _record(self, listing_id: ListingId) -> UnspreadRecord | None:
        row = self._database.execute(
            "SELECT level, state, signals FROM listing WHERE listing_id = ?", (listing_id,)
        ).fetchone()
        if row is None or State(row[1]) in _ENDED:
            return None
        return UnspreadRecord(row[0], row[1], row[2].split())

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class UnspreadSignalExchangeAPI(
    auth.SignalExchangeWithAuth[UnspreadCollabConfig, UnspreadCredentials],
    SignalExchangeAPI[
        UnspreadCollabConfig, UnspreadCheckpoint, UnspreadSignalMetadata, str, UnspreadRecord
    ],
):
    """Follows a clearinghouse's own feed, verified."""

    def __init__(
        self,
        collab: UnspreadCollabConfig,
        credentials: UnspreadCredentials,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__()
        self.collab = collab
        self._credentials = credentials
        self._http = http or httpx.Client(timeout=TIMEOUT_SECONDS)
        name = f"{credentials.log_origin}-{credentials.partner_id}".replace("/", "_")
        self._path = Path(collab.state_dir).expanduser() / f"{name}.sqlite3"

    @classmethod
    def get_name(cls) -> str:
        """As it stands in configurations."""
        return "unspread"

    @staticmethod
    def get_config_cls() -> type[UnspreadCollabConfig]:
        """Configuration."""
        return UnspreadCollabConfig

    @staticmethod
    def get_checkpoint_cls() -> type[UnspreadCheckpoint]:
        """Place in the feed."""
        return UnspreadCheckpoint

    @staticmethod
    def get_record_cls() -> type[UnspreadSignalMetadata]:
        """What a match shows."""
        return UnspreadSignalMetadata

    @staticmethod
    def get_credential_cls() -> type[UnspreadCredentials]:
        """The membership."""
        return UnspreadCredentials

    @classmethod
    def for_collab(
        cls, collab: UnspreadCollabConfig, credentials: UnspreadCredentials | None = None
    ) -> "UnspreadSignalExchangeAPI":
        """With the credentials given, or those of the environment."""
        return cls(collab, credentials or UnspreadCredentials.get(cls))

    def fetch_iter(
        self,
        _supported_signal_types: Sequence[type[SignalType]],
        checkpoint: UnspreadCheckpoint | None,
    ) -> Iterator[fetched.FetchDelta[str, UnspreadRecord, UnspreadCheckpoint]]:
        """What has become certain since the checkpoint, a file of the feed at a time.

        Raises:
            TrustError: if what came does not hold: keep what you have and call a person.
            TransportError: if the clearinghouse does not answer.
        """
        with closing(Remembered(self._path)) as remembered:
            if checkpoint is None or not checkpoint.size:
                checkpoint = None
                remembered.clear()
            elif remembered.is_empty:
                log.warning("what was told before is lost: reading from the start")
                checkpoint = None
            reader = self._reader(checkpoint, remembered)
            reader.begin()
            again: set[int] = set()
            while (request := reader.next_request()) is not None:
                now = datetime.now(UTC)
                events = reader.receive(request, self._fetch(request), now)
                updates = remembered.apply(events, windows=bool(self.collab.windows))
                if reader.begins_anew:
                    again.update(e.listing_id for e in events if isinstance(e, ListingAdded))
                    if reader.has_begun_anew():
                        updates |= remembered.drop_all_but(again)
                place = UnspreadCheckpoint(
                    base64.b64encode(reader.state()).decode(), reader.size, int(now.timestamp())
                )
                yield fetched.FetchDelta(updates, place)

    def _reader(self, checkpoint: UnspreadCheckpoint | None, remembered: Remembered) -> FeedReader:
        credentials = self._credentials
        return FeedReader(
            policy=trial_policy(credentials.log_origin, _from_b64(credentials.log_key)),
            partner_id=credentials.partner_id,
            key=OpeningKey(_from_b64(credentials.opening_secret)),
            state=None if checkpoint is None else base64.b64decode(checkpoint.state),
            item_key_digest_of=remembered.item_key_digest,
        )

    def _fetch(self, request: Request) -> bytes:
        body = bytearray()
        url = f"{self._credentials.feed.rstrip('/')}/{request.path}"
        asked = {"range": request.http_range} if request.http_range else {}
        try:
            with self._http.stream("GET", url, headers=asked) as answer:
                if answer.status_code != (206 if asked else 200):
                    raise TransportError(f"the clearinghouse answered {answer.status_code}")
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > request.max_bytes:
                        break
        except httpx.HTTPError as error:
            raise TransportError(f"no answer: {type(error).__name__}") from None
        return bytes(body)

    @classmethod
    def naive_convert_to_signal_type(
        cls,
        signal_types: Sequence[type[SignalType]],
        collab: UnspreadCollabConfig,  # noqa: ARG003 - as the published class has it
        fetched: Mapping[str, UnspreadRecord],
    ) -> dict[type[SignalType], dict[str, UnspreadSignalMetadata]]:
        """Signals of listings that are active: a suspended one is kept, and not matched."""
        by_name = {each.get_name(): each for each in signal_types}
        found: dict[type[SignalType], dict[str, UnspreadSignalMetadata]] = {}
        for listing_id, record in fetched.items():
            if State(record.state) not in ACTIVE_STATES:
                continue
            for name, _, value in (each.partition(":") for each in record.signals):
                if name in by_name:
                    having = found.setdefault(by_name[name], {})
                    metadata = having.setdefault(value, UnspreadSignalMetadata({}))
                    metadata.levels[listing_id] = record.level
        return found


def _from_b64(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise InputError("the membership holds something that is no base64url") from None


def _signals(listing: Listing, *, windows: bool) -> list[str]:
    """What hosts can match: pictures by PDQ, videos by digests of the file."""
    if listing.media is Media.IMAGE:
        return [
            f"{PdqSignal.get_name()}:{each.value.hex()}"
            for each in picture_fingerprints(listing, windows=windows)
        ]
    kinds = ((Kind.MD5, VideoMD5Signal), (Kind.SHA256, VideoSHA256Signal))
    return [
        f"{signal.get_name()}:{found.value.hex()}"
        for kind, signal in kinds
        if (found := digest(listing, kind)) is not None
    ]


# --- NCMEC's protocol at another address --------------------------------------------------------


@dataclass
class _NcmecAtRequired:
    base_url: str = field(
        metadata={"help": "address of the list, like https://clearinghouse.example/exchange/ncmec"}
    )


@dataclass
class NcmecAtCollabConfig(CollaborationConfigWithDefaults, _NcmecAtRequired):
    """A list in NCMEC's protocol that is not NCMEC's."""

    api: str = field(init=False, default="ncmec_at")
    only_esp_ids: set[int] = field(
        default_factory=set, metadata={"help": "only take entries of these members"}
    )

    @property
    def environment(self) -> Any:
        """What the published class asks for: something with the address as its `value`."""
        return SimpleNamespace(value=self.base_url.rstrip("/"))


@dataclass
class NcmecAtCredentials(ncmec_api.NCMECCredentials):
    """User and password of that list, not NCMEC's."""

    ENV_VARIABLE: ClassVar[str] = "TX_NCMEC_AT_CREDENTIALS"
    FILE_NAME: ClassVar[str] = "~/.tx_ncmec_at_credentials"


class UtcNcmecHashAPI(hash_api.NCMECHashAPI):
    """The published client, which writes local times and calls them UTC, writing UTC."""

    def get_entries(
        self, *, start_timestamp: int = 0, end_timestamp: int = 0, next_: str = ""
    ) -> hash_api.GetEntriesResponse:
        """One page."""
        now = int(datetime.now(UTC).timestamp())
        params = {"from": time_text(start_timestamp), "to": time_text(end_timestamp or now)}
        answer = self._get(hash_api.NCMECEndpoint.entries, next_=next_, **params)
        return hash_api.GetEntriesResponse.from_xml(hash_api._XMLWrapper(answer), now)


class NcmecAtSignalExchangeAPI(ncmec_api.NCMECSignalExchangeAPI):
    """The published exchange of NCMEC's protocol, with the address in its configuration."""

    @classmethod
    def get_name(cls) -> str:
        """As it stands in configurations."""
        return "ncmec_at"

    @staticmethod
    def get_config_cls() -> Any:
        """Configuration."""
        return NcmecAtCollabConfig

    @staticmethod
    def get_credential_cls() -> Any:
        """User and password."""
        return NcmecAtCredentials

    @classmethod
    def for_collab(cls, collab: Any, credentials: Any = None) -> "NcmecAtSignalExchangeAPI":
        """With the credentials given, or those of the environment."""
        credentials = credentials or NcmecAtCredentials.get(cls)
        return cls(collab, credentials.user, credentials.password)

    def get_client(self, environment: Any) -> hash_api.NCMECHashAPI:
        """The published client at our address."""
        return UtcNcmecHashAPI(self._username, self._password, environment)


TX_MANIFEST = ThreatExchangeExtensionManifest(
    apis=(UnspreadSignalExchangeAPI, NcmecAtSignalExchangeAPI)
)
