"""The clearinghouse's settings: one frozen value, made once by the command, passed in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from unspread.errors import InputError
from unspread.feed.records import MAX_CANARIES

DEFAULT_PORT: Final = 8000


class SettingsError(InputError):
    """The clearinghouse cannot start with these settings."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one clearinghouse is started with.

    Raises:
        SettingsError: at start, if something cannot work.
    """

    data: Path
    """Directory for keys, database and published files; made on first start, readable by nobody
    else."""

    url: str = f"http://127.0.0.1:{DEFAULT_PORT}"
    """Where people and platforms reach it, without a path."""

    name: str = "A clearinghouse"
    """Of the organisation that runs it, as people read it."""

    database_url: str = ""
    """`postgresql://user@host/name`, or empty for SQLite in the data directory."""

    training: bool = False
    """Everything works and is marked as an exercise; lists are never mixed with real ones."""

    tick_seconds: float = 0.25
    """At most this long from a commit to its publication."""

    padding_batch: int = 0
    """The log grows by whole batches of so many entries, one at least at every tick, so that
    nobody can see from outside when somebody submitted or withdrew. 0: no padding. With it every
    submission waits for the next tick: use 8 and a tick of 10 seconds (25 million entries, under
    1 GB a year)."""

    witness_policy: Path | None = None
    """A tlog-policy file with the witnesses to ask and how many must sign before a new list is
    published. None: no witnesses."""

    canaries_per_epoch: int = 0
    """So many synthetic listings are planted in an epoch, some for each platform, to trace a leaked
    list; also the most entries that a platform may be refused as another's canaries. 900 trace
    two platforms that mix their lists, and one at least of three. 0: none."""

    canary_epoch_days: float = 30.0
    """How long an epoch is: its canaries are listed in the first half, and revealed once those of
    the next are."""

    store_url: str = ""
    """Object store for what is published: `s3://bucket/prefix` and what else obstore knows, with
    credentials from the environment. Empty: the data directory."""

    feed_url: str = ""
    """Address at which platforms fetch the feed, if a bucket or CDN serves it. Empty: `url`."""

    client_address_header: str = ""
    """Header in which the proxy in front gives the client's address, e.g. `x-forwarded-for`
    (its last entry is read). Empty: the connection's own address. Used for rate limits in memory
    and nothing else."""

    submissions_per_minute: float = 600.0
    """Above this rate proofs of work grow harder."""

    max_submissions_per_minute: float = 6000.0
    """Of all networks together, with their proofs of work; a minute's worth may come at once. More
    are told to come back: a list that grows by millions a day is nobody's. In training, 60 times
    more."""

    submissions_per_minute_per_network: float = 20.0
    """Of one /24 or /48, in the long run; bursts of ten times that. In training, 60 times more."""

    lookups_per_minute: float = 3000.0
    """Of one partner, in questions; bursts of ten times that."""

    lookup_matches_per_day: float = 2000.0
    """Of one partner: more matches than a small platform meets are a harvest."""

    max_waiting_writes: int = 4000
    """With more writes in the queue than this, answers are 503 at once."""

    languages: tuple[str, ...] = ()
    """Of the pages, in this order; empty: all that the package has."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
            raise SettingsError("the address is like https://example.org, without a path")
        if self.database_url and urlsplit(self.database_url).scheme not in {
            "postgresql",
            "postgres",
        }:
            raise SettingsError("the database is given as postgresql://…; leave it out for SQLite")
        if self.tick_seconds <= 0 or self.canary_epoch_days <= 0:
            raise SettingsError("a tick and an epoch are longer than nothing")
        if not 0 <= self.canaries_per_epoch <= MAX_CANARIES:
            raise SettingsError(f"an epoch has at most {MAX_CANARIES} canaries")
        if self.feed_url and urlsplit(self.feed_url).scheme not in {"http", "https"}:
            raise SettingsError("the address of the feed is like https://cdn.example.org/unspread")

    @property
    def log_origin(self) -> str:
        """The log's name for ever (C2SP tlog-checkpoint): host and path, no scheme."""
        return f"{urlsplit(self.url).netloc}/log"

    @property
    def host(self) -> str:
        """The host name in the address, without the port."""
        return urlsplit(self.url).hostname or ""

    @property
    def keys(self) -> Path:
        """Private keys, mode 0700 with files 0600."""
        return self.data / "keys"

    @property
    def blobs(self) -> Path:
        """What /log, /feed and /policy serve, unless an object store holds it."""
        return self.data / "public"

    @property
    def private_blobs(self) -> Path:
        """What the publisher remembers of what it signed."""
        return self.data / "signed"

    @property
    def sqlite_path(self) -> Path:
        """The embedded database."""
        return self.data / "clearinghouse.sqlite3"
