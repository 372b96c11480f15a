"""Everything an operator may set: one frozen class, read once, refused at start when in doubt.

Settings come from `DIR/platform.toml` (or the file named) and from flags, which win. A name that
is not listed here is an error: a misspelt safeguard must not be silently absent.
docs/platform/settings.md is written from this module.
"""

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from unspread.errors import InputError
from unspread.fingerprint.result import Sampling
from unspread.model import MATCH_RADIUS_BITS, MIN_PDQ_QUALITY, Level
from unspread.platform_kit.actions.settings import AnyDestination
from unspread.platform_kit.cybertip.settings import CyberTipSettings
from unspread.platform_kit.hooks.settings import HmaSettings, MastodonSettings, TusdSettings
from unspread.platform_kit.notices.settings import NoticeSettings
from unspread.platform_kit.review.rules import ReviewSettings

FILE_NAME: Final = "platform.toml"

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Radius = Annotated[int, msgspec.Meta(ge=0, le=64)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0.0)]


class SettingsError(InputError):
    """A setting is unknown, missing or out of range; the text names it."""


class Response(StrEnum):
    """What a match on a listing leads to."""

    IGNORE = "ignore"
    """Count it, and let the content pass."""
    HOLD = "hold"
    """Keep it from view until a person has looked."""
    REFUSE = "refuse"
    """Refuse the upload; take down what is already posted."""


class Fallback(StrEnum):
    """What to answer when no check was possible. Never silent: counted, and said in the answer."""

    REFUSE = "refuse"
    """Fail closed."""
    ACCEPT = "accept"
    """Fail open."""


class Source(StrEnum):
    """Where a list comes from."""

    FEED = "feed"
    """An Unspread clearinghouse, joined with `unspread platform enroll`."""
    NCMEC = "ncmec"
    """NCMEC's hash sharing, version 2."""
    STOPNCII = "stopncii"
    """StopNCII.org, version 1."""
    THREATEXCHANGE = "threatexchange"
    """Meta's ThreatExchange, through the Graph API."""
    LOCAL = "local"
    """Kept here, by the platform's own people."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class LevelResponses(_Section, frozen=True):
    """What a match leads to, by how far the listing is corroborated."""

    quarantined: Response = Response.IGNORE
    """Such listings are not published; nothing to match."""
    unverified: Response = Response.HOLD
    """One person's word: a person looks before anything is deleted."""
    confirmed: Response = Response.REFUSE
    """Another platform has seen the content and agrees."""
    corroborated: Response = Response.REFUSE
    """Two platforms agree, or a helpline vouches."""
    disputed: Response = Response.IGNORE
    """Somebody who looked says that the listing is wrong."""

    def of(self, level: Level) -> Response:
        """The response for one level."""
        response: Response = getattr(self, level.value)
        return response


class ListSettings(_Section, frozen=True):
    """One list that uploads and hosted content are matched against."""

    source: Source = Source.FEED
    """Where it comes from."""
    enabled: bool = True
    """The kill switch: false matches nothing and keeps following."""
    shadow: bool = False
    """Count and log what would have happened, and let everything pass."""
    allow: bool = False
    """A negative list: what matches it as a whole is accepted whatever other lists say."""
    radius_bits: Radius = MATCH_RADIUS_BITS
    """Largest distance that matches, inclusive."""
    sampling: Fraction = 1.0
    """The part of uploads that this list is applied to, for a careful start."""
    flood_limit: int = 0
    """Hold instead of refuse once one listing matched so often within an hour; 0: no limit."""
    actions: LevelResponses = LevelResponses()
    """What a match leads to."""
    level: Level = Level.UNVERIFIED
    """How far entries count as corroborated that come without votes; not for feeds, which say."""
    partial: Response = Response.HOLD
    """The most that a match on a part leads to: a window of a picture, few frames of a video."""
    window_matches: Annotated[int, msgspec.Meta(ge=1, le=2)] = 2
    """So many windows must match before a part of a picture counts as shared. 1 finds a few copies
    more, and holds far more that is not listed."""
    stale_after_seconds: Seconds = 900.0
    """Alarm when nothing trusted came for so long. The list keeps matching."""
    poll_seconds: Seconds = 10.0
    """How often to ask when no push announces news."""
    url: str = ""
    """For lists other than a feed: where the programme's interface is; empty: its own address."""
    credentials: str = ""
    """For lists other than a feed: a file under the data directory with what they gave you."""
    privacy_group: str = ""
    """ThreatExchange: the number of the privacy group to follow."""
    members: tuple[str, ...] = ()
    """NCMEC: only entries of these members, by number; empty: of all."""
    feedback: bool = True
    """Tell the list what was found, refused, removed or disputed, where it takes that."""


class Webhook(_Section, frozen=True):
    """Where decisions are delivered."""

    url: str
    """Receives `POST` with a signed JSON body for every action."""
    secret_file: str = "keys/webhook.secret"  # noqa: S105 - a file's name
    """Under the data directory; made at the first start."""


class Settings(_Section, frozen=True):
    """The platform kit's settings."""

    data: Path
    """Where state, keys and the catalogue live."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    """Port to listen on."""

    witness_policy: Path | None = None
    """A tlog-policy file with the logs we follow and the witnesses who must have signed."""

    max_upload_bytes: Positive = 256 * 1024 * 1024
    """Larger uploads are answered 413."""
    max_lookup_queries: Positive = 10_000
    """Fingerprints in one `POST /lookup`."""
    scan_workers: Positive = 2
    """Confined processes that decode media."""
    scan_queue: Positive = 32
    """Uploads that may wait for a worker; more are answered 503 with Retry-After."""
    scan_timeout_seconds: Seconds = 60.0
    """A file that takes longer counts as unreadable."""
    scan_windows: bool = True
    """Look at windows of pictures too, which finds crops, screenshots and collages for about
    60 ms of processor time each."""
    scan_videos_by: Sampling = Sampling.KEYFRAMES
    """Which frames of a video are looked at: `keyframes` (one in two seconds), or the dearer
    `every_second`, which sees more of a listed clip that stands in a longer film, and what lies
    between keyframes that are far apart."""
    scan_windows_of_frames: Annotated[int, msgspec.Meta(ge=0)] = 0
    """So many frames of a video have windows as pictures do, for as much each. Finds most listed
    pictures that were taken out of a video, and holds more that is not listed."""
    requests_per_minute: Positive = 60_000
    """Per key; more are answered 429."""
    min_quality: Annotated[int, msgspec.Meta(ge=0, le=100)] = MIN_PDQ_QUALITY
    """Pictures with less PDQ quality match by digest alone: they would match anything."""

    unreadable: Fallback = Fallback.REFUSE
    """What to answer for a file that is neither a picture nor a video that can be read."""
    when_unavailable: Fallback = Fallback.REFUSE
    """What to answer while no list is loaded or all workers are busy."""
    remember_uploads: bool = True
    """Keep the fingerprints of accepted uploads that name a reference, so that a later listing
    finds them."""

    catalogue: str = ""
    """Where the catalogue is: empty for SQLite in the data directory, or `postgresql://…`."""
    catalogue_parquet: Path | None = None
    """A directory where a running server keeps the catalogue as Parquet too, to within a minute,
    for scans on many machines (`pip install 'unspread[parquet]'`). None: no Parquet."""
    quarantine_listings_with_matches: Positive = 100
    """A listing that matches more of the catalogue than this is held, whatever the policy says:
    so common a picture is nobody's secret."""
    feedback_flush_seconds: Seconds = 5.0
    """How often refused uploads are summed up and reported."""
    snapshot_after_changes: Positive = 100_000
    """From so many listings on the bank is kept in a file that all processes share."""
    replica: bool = False
    """Follow the data directory of another process instead of the lists themselves."""

    fetch_hosts: tuple[str, ...] = ()
    """Hosts from which `unspread platform scan` may fetch URLs; empty: none. Addresses inside
    your network are refused all the same."""
    log_json: bool = True
    """Logs as JSON lines; false: for people."""
    traces: str = ""
    """An OTLP endpoint for OpenTelemetry (`pip install 'unspread[telemetry]'`); empty: none."""

    lists: dict[str, ListSettings] = {}
    """By name. A feed joined with `enroll` follows these defaults when it is not named here."""
    actions: tuple[AnyDestination, ...] = ()
    """Further places where actions are delivered: docs/platform/actions.md."""
    review: ReviewSettings = ReviewSettings()
    """People who look at what is held: docs/platform/review.md."""
    notices: NoticeSettings = NoticeSettings()
    """Signed requests for removal: docs/platform/notices.md."""
    cybertip: CyberTipSettings | None = None
    """Reports to NCMEC: docs/platform/cybertip.md."""
    hma: HmaSettings = HmaSettings()
    """Callers of Hasher-Matcher-Actioner: docs/platform/hma-callers.md."""
    tusd: TusdSettings | None = None
    """Resumable uploads: docs/platform/tusd.md."""
    mastodon: MastodonSettings | None = None
    """New posts of a Mastodon server: docs/platform/mastodon.md."""
    webhook: Webhook | None = None
    """Where actions are delivered; without it they wait, and can be read by hand."""

    @classmethod
    def load(cls, data: Path, file: Path | None = None, **overrides: object) -> "Settings":
        """Read `file` (default `DATA/platform.toml`, which may be missing); overrides win.

        Raises:
            SettingsError: for an unknown name, a wrong type, a value out of range, a bad file.
        """
        path = file or data / FILE_NAME
        values: dict[str, Any] = {}
        try:
            if file is not None or path.exists():
                values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"cannot read the settings in {path}: {error}") from None
        values |= {name: value for name, value in overrides.items() if value is not None}
        values["data"] = str(data)
        try:
            settings = msgspec.convert(values, cls, strict=True, dec_hook=_path)
        except msgspec.ValidationError as error:
            raise SettingsError(f"in {path}: {error}") from None
        if settings.catalogue and not settings.catalogue.startswith("postgresql://"):
            raise SettingsError("catalogue: empty, or postgresql://…")
        for name, one in settings.lists.items():
            _check(name, one)
        return settings

    def list_settings(self, name: str) -> ListSettings:
        """The settings of one list, or the defaults."""
        return self.lists.get(name, _DEFAULTS)


_DEFAULTS: Final = ListSettings()


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError


def _check(name: str, one: ListSettings) -> None:
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name):
        raise SettingsError("a list's name has letters, digits, '-', '_' and '.'")
    if one.allow and one.source is not Source.LOCAL:
        raise SettingsError(f"lists.{name}: only a local list can allow")
    if one.source in {Source.NCMEC, Source.STOPNCII, Source.THREATEXCHANGE}:
        if not one.credentials:
            raise SettingsError(f"lists.{name}: needs `credentials`")
    elif one.url or one.credentials:
        raise SettingsError(f"lists.{name}: `url` and `credentials` are for other programmes")
