"""Sections of platform.toml for software that calls the kit in its own way."""

from typing import Annotated

import msgspec


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class HmaSettings(_Section, frozen=True):
    """The part of HMA's interface that callers use: docs/platform/hma-callers.md."""

    enabled: bool = False
    """Answer on /h/hash, /m/lookup, /m/raw_lookup, /status and /c/bank…."""
    without_key: bool = False
    """Ask for no key, as HMA does: only where nobody else can reach the port."""


class TusdSettings(_Section, frozen=True):
    """Resumable uploads through tusd. docs/platform/tusd.md."""

    url: str
    """tusd's own address of uploads, `http://127.0.0.1:1080/files/`: what is refused is deleted
    there."""
    store: str
    """Where tusd keeps uploads: a directory, or the URL of its bucket."""
    options: dict[str, str] = {}
    """For the bucket: `endpoint`, `region` …."""


class MastodonSettings(_Section, frozen=True):
    """A Mastodon server's admin webhook. docs/platform/mastodon.md."""

    url: str
    """The server, `https://social.example`."""
    token_file: str = "keys/mastodon.token"  # noqa: S105 - a file's name
    """Under the data directory: an access token that may report and act on accounts."""
    secret_file: str = "keys/mastodon.secret"  # noqa: S105 - a file's name
    """Under the data directory: the webhook's secret, as Mastodon shows it."""
    media_hosts: tuple[str, ...] = ()
    """Hosts from which media may be fetched; empty: the server's own host."""
    account_action: Annotated[
        str, msgspec.Meta(pattern="^(none|sensitive|disable|silence|suspend)$")
    ] = "none"
    """What else to do to the account besides the report, after a refusal."""
