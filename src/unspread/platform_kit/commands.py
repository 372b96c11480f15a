"""`unspread platform …`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unspread.errors import InputError, StateError
from unspread.platform_kit.actions.commands import actions
from unspread.platform_kit.hooks.commands import s3_events
from unspread.platform_kit.notices.commands import notices
from unspread.platform_kit.review.commands import reviewer
from unspread.platform_kit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from unspread.model import Fingerprint, Media
    from unspread.platform_kit.access import Keys
    from unspread.platform_kit.banks import LocalBank

_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of this installation's state and keys.",
)
_SETTINGS = click.option(
    "--settings",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Settings file; DATA/platform.toml when not given.",
)


class _Platform(click.Group):
    """Loads what only scans need when a scan is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "catalogue", "scan"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in {"catalogue", "scan"}:
            from unspread.platform_kit import scan_commands

            command: click.Command = getattr(scan_commands, cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


@contextmanager
def _opened_keys(data: Path) -> "Iterator[Keys]":
    from time import monotonic

    from unspread.platform_kit.access import Keys
    from unspread.platform_kit.store import Store

    store = Store(data)
    try:
        yield Keys(store, requests_per_minute=1, seconds=monotonic)
    finally:
        store.close()


@click.group(cls=_Platform)
def platform() -> None:
    """Protect a platform: follow lists, decide on uploads, find what is already there."""


for _part in (actions, notices, reviewer, s3_events):
    platform.add_command(_part)


@platform.command()
@_DATA
@click.option("--at", "address", required=True, help="Address of the clearinghouse.")
@click.option("--invitation", required=True, help="What the clearinghouse gave you; - reads it.")
@click.option("--name", "platform_name", default="", help="Your platform's name, for people.")
@click.option("--list", "list_name", default="unspread", show_default=True, help="Name it here.")
def enroll(data: Path, address: str, invitation: str, platform_name: str, list_name: str) -> None:
    """Join a clearinghouse: makes keys here and sends the public ones."""
    import httpx

    from unspread.platform_kit.enrolment import enrol, words_of_keys

    if invitation == "-":
        if sys.stdin.isatty():
            click.echo("Paste the invitation, and press Enter:", err=True)
        invitation = sys.stdin.readline().strip()
    with httpx.Client(trust_env=False) as http:
        membership, is_active = enrol(
            data, list_name, address, invitation.strip(), platform_name, http=http
        )
    words = words_of_keys(membership.signing_key().public, membership.opening_key().public)
    click.echo(f"Joined {membership.log_origin} as {membership.partner_id}.")
    click.echo(f"Your keys:  {words}   (compare with the clearinghouse, by telephone)")
    click.echo(f"Their log:  {membership.log_key}   (compare as well)")
    if not is_active:
        click.echo("The clearinghouse has to approve you; serving can start meanwhile.")
    click.echo(f"Next: unspread platform serve --data {data}")


@platform.command()
@_DATA
@click.option("--list", "list_name", default="unspread", show_default=True, help="Its name here.")
def rotate(data: Path, list_name: str) -> None:
    """Replace the key that signs what we tell a clearinghouse. Then start `serve` anew."""
    from datetime import UTC, datetime

    import httpx

    from unspread.platform_kit import enrolment

    with httpx.Client(trust_env=False) as http:
        after = enrolment.rotate(data, list_name, http=http, now=datetime.now(UTC))
    words = enrolment.words_of_keys(after.signing_key().public, after.opening_key().public)
    click.echo(f"Your keys:  {words}   (the clearinghouse has them)")
    click.echo("Start `unspread platform serve` anew: until then it signs with the old key.")


@platform.command()
@_DATA
@_SETTINGS
@click.option("--host", default=None, help="Address to listen on.")
@click.option("--port", type=int, default=None, help="Port to listen on.")
def serve(data: Path, file: Path | None, host: str | None, port: int | None) -> None:
    """Follow the lists and answer /scan and /lookup."""
    import uvicorn

    from unspread.platform_kit import memory, traces
    from unspread.platform_kit.app import create_app
    from unspread.platform_kit.logs import set_up

    settings = Settings.load(data, file, host=host, port=port)
    set_up(as_json=settings.log_json)
    traces.set_up(settings.traces)
    memory.keep_small()
    app = create_app(settings)
    try:
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    except OSError as error:
        raise StateError(f"cannot listen on {settings.host}:{settings.port}: {error}") from None


@platform.command()
@_DATA
@_SETTINGS
def sync(data: Path, file: Path | None) -> None:
    """Fetch every feed once, search the catalogue, tell what is due, and end."""
    import asyncio

    from unspread.platform_kit.app import follow_once

    for name, count, problem in asyncio.run(follow_once(Settings.load(data, file))):
        click.echo(f"{name}: {count} listings{f' ({problem})' if problem else ''}")


@platform.command()
@_DATA
@_SETTINGS
def check(data: Path, file: Path | None) -> None:
    """Say whether settings, database, decoders and lists are in order; status 3 if not."""
    from unspread.platform_kit.checks import findings

    problems = 0
    for each in findings(Settings.load(data, file)):
        problems += not each.is_good
        click.echo(f"{'ok  ' if each.is_good else 'BAD '} {each.text}")
    if problems:
        raise StateError(f"{problems} things need a look")


@platform.command("trail")
@_DATA
@click.option("--after", type=int, default=0, help="Only entries after this number.")
def show_trail(data: Path, after: int) -> None:
    """Print the audit trail: who did what, and when."""
    from unspread.platform_kit.store import Store

    store = Store(data)
    try:
        while entries := store.audit_trail(after):
            for number, at, actor, what, subject in entries:
                click.echo(f"{number}\t{at}\t{actor}\t{what}\t{subject}")
            after = entries[-1][0]
    finally:
        store.close()


@platform.group()
def key() -> None:
    """Keys for programs and people that call the kit."""


@key.command("add")
@_DATA
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="scan, lookup, …")
def add_key(data: Path, name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and print it, once."""
    from unspread.platform_kit.access import Scope
    from unspread.platform_kit.app import utc_now

    try:
        wanted = [Scope(each) for each in scopes]
    except ValueError:
        raise InputError(f"scopes are {', '.join(Scope)}") from None
    with _opened_keys(data) as keys:
        click.echo(keys.issue(name, wanted, "command line", utc_now()))


@key.command("list")
@_DATA
def list_keys(data: Path) -> None:
    """Say which keys there are."""
    with _opened_keys(data) as keys:
        for each in keys.all():
            state = f"revoked {each.revoked_at}" if each.revoked_at else "in use"
            click.echo(f"{each.name}\t{' '.join(sorted(each.scopes))}\t{state}")


@key.command("revoke")
@_DATA
@click.argument("name")
def revoke_key(data: Path, name: str) -> None:
    """Make a key useless, within two seconds also in a running server."""
    from unspread.platform_kit.app import utc_now

    with _opened_keys(data) as keys:
        keys.revoke(name, "command line", utc_now())


@platform.group()
def bank() -> None:
    """Local lists: what your own people list, or allow."""


_LIST = click.option("--list", "list_name", required=True, help="A local list of the settings.")


@bank.command("add")
@_DATA
@_SETTINGS
@_LIST
@click.option("--name", "entry", help="Name of the entry; made up and printed when not given.")
@click.option("--pdq", help="A PDQ in hex, instead of files.")
@click.option("--sha256", help="A SHA-256 in hex, instead of files.")
@click.option("--md5", help="An MD5 in hex, instead of files.")
@click.argument("sources", metavar="[FILE|URL]...", nargs=-1)
def add_to_bank(
    data: Path,
    file: Path | None,
    list_name: str,
    entry: str | None,
    sources: tuple[str, ...],
    **values: str | None,
) -> None:
    """List pictures, videos or fingerprints.

    A URL is fetched if the settings list its host as fetch_hosts, and decoded in a confined
    process.
    """
    from unspread.model import Fingerprint, Kind, Media

    given = {name: text for name, text in values.items() if text}
    if bool(given) == bool(sources):
        raise InputError("give files or URLs, or fingerprints in hex")
    if entry and len(sources) > 1:
        raise InputError("a name is for one file")
    settings = Settings.load(data, file)
    with _opened_bank(data, file, list_name) as (own, now):
        if given:
            prints = [
                Fingerprint.from_text(f"{name}:{text}", quality=100 if name == Kind.PDQ else None)
                for name, text in given.items()
            ]
            number = own.add(
                entry or f"entry-{now:%Y%m%d%H%M%S%f}",
                Media.IMAGE,
                prints,
                by="command line",
                at=now,
            )
            click.echo(f"{number}")
        for count, source in enumerate(sources, 1):
            media, found = _fingerprints_at(source, settings)
            name = entry or f"entry-{now:%Y%m%d%H%M%S%f}-{count}"
            number = own.add(name, media, found, by="command line", at=now)
            click.echo(f"{number}\t{name}\t{source}")


def _fingerprints_at(source: str, settings: Settings) -> "tuple[Media, Sequence[Fingerprint]]":
    """What to list of a file, or of the content of a URL."""
    if "://" not in source:
        from unspread.fingerprint.confined import patient_decoder

        if not Path(source).is_file():
            raise InputError(f"there is no file {source}")
        with patient_decoder() as decoder:
            made = decoder.fingerprint(Path(source))
        return made.media, made.fingerprints

    import asyncio

    import httpx

    from unspread.fingerprint.confined import Confined
    from unspread.platform_kit.banks import fingerprints_of
    from unspread.platform_kit.hosted import Fetcher

    async def fetched() -> bytes:
        async with httpx.AsyncClient(trust_env=False) as http:
            fetcher = Fetcher(settings.fetch_hosts, settings.max_upload_bytes, http)
            return await fetcher.fetch(source)

    content = asyncio.run(fetched())
    with Confined(1) as pool:
        scan = pool.scan(content, windows=False)
    return scan.media, fingerprints_of(scan)


@bank.command("remove")
@_DATA
@_SETTINGS
@_LIST
@click.argument("entry")
def remove_from_bank(data: Path, file: Path | None, list_name: str, entry: str) -> None:
    """Take an entry out; it matches nothing within half a second."""
    with _opened_bank(data, file, list_name) as (own, now):
        own.remove(entry, by="command line", at=now)


@contextmanager
def _opened_bank(
    data: Path, file: Path | None, list_name: str
) -> "Iterator[tuple[LocalBank, datetime]]":
    from unspread.platform_kit.app import utc_now
    from unspread.platform_kit.banks import LocalBank
    from unspread.platform_kit.store import Store

    settings = Settings.load(data, file)
    store = Store(data)
    try:
        yield LocalBank(settings, store, list_name), utc_now()
    finally:
        store.close()
