"""`unspread clearinghouse …`: run it, look after it, admit partners."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TypeVar

import click
import structlog

from unspread.clearinghouse import (
    backup,
    canaries,
    checking,
    composition,
    key_files,
    partners,
    rules,
    store,
)
from unspread.clearinghouse.database import connect
from unspread.clearinghouse.settings import DEFAULT_PORT, Settings
from unspread.clearinghouse.staff import members
from unspread.errors import InputError, UnspreadError
from unspread.feed.canaries import CANARIES_PER_EPOCH
from unspread.feed.records import Surface
from unspread.feed.sealing import Scope
from unspread.model import Level

T = TypeVar("T")

_data = click.option(
    "--data",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of keys, database and published files.",
)
_database = click.option(
    "--database",
    default="",
    envvar="UNSPREAD_DATABASE",
    help="postgresql://user@host/name; SQLite in the data directory if not given.",
)
_by = click.option(
    "--by",
    default="",
    callback=lambda _context, _option, name: partners.on_command_line(name),
    help="Who does it; the audit trail adds that it was on the command line.",
)
_store = click.option(
    "--store",
    "store_url",
    default="",
    envvar="UNSPREAD_STORE",
    help="Object store of log and feed, s3://bucket/prefix; in the data directory if not given.",
)
_surfaces = click.option(
    "--surface",
    "surfaces",
    multiple=True,
    type=click.Choice([each.name.lower() for each in Surface]),
    help="Where the partner looks; all if not given.",
)
_countries = click.option(
    "--country", "countries", multiple=True, help="Like DE: where it is; all if not given."
)
_levels = click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice([each.value for each in Level]),
    help="Listings of these levels; all but quarantined if not given.",
)


@click.group()
def clearinghouse() -> None:
    """Run a clearinghouse."""


@clearinghouse.command()
@_data
@_database
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--url", default="", help="Public address, if another than this host and port.")
@click.option("--name", default="", help="Of the organisation, as people read it.")
@click.option("--training", is_flag=True, help="An exercise: the list protects nobody.")
@click.option("--tick", default=0.25, show_default=True, help="Seconds between publications.")
@click.option("--padding-batch", default=0, show_default=True, help="With --tick 10: take 8.")
@click.option(
    "--witnesses",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A tlog-policy file: whom to ask, and how many must sign before a list is published.",
)
@click.option(
    "--canaries",
    "canaries_per_epoch",
    default=CANARIES_PER_EPOCH,
    show_default=True,
    help="Planted in an epoch to trace a leaked list; 0: none.",
)
@click.option("--epoch-days", default=30.0, show_default=True, help="Of canaries.")
@_store
@click.option("--feed-url", default="", help="Where platforms fetch the feed, if not at --url.")
@click.option(
    "--client-address-header", default="", help="Set by the proxy in front, e.g. x-forwarded-for."
)
def serve(  # noqa: PLR0917 - click passes them by name
    data: Path,
    database: str,
    host: str,
    port: int,
    url: str,
    name: str,
    training: bool,
    tick: float,
    padding_batch: int,
    witnesses: Path | None,
    canaries_per_epoch: int,
    epoch_days: float,
    store_url: str,
    feed_url: str,
    client_address_header: str,
) -> None:
    """Serve people's page, platforms' feed and the staff console."""
    import uvicorn

    from unspread.clearinghouse.app import application
    from unspread.clearinghouse.service import Service

    settings = Settings(
        data=data,
        url=url.rstrip("/") or f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}",  # noqa: S104 - compared, not bound
        name=name or ("Training clearinghouse" if training else "A clearinghouse"),
        database_url=database,
        training=training,
        tick_seconds=tick,
        padding_batch=padding_batch,
        witness_policy=witnesses,
        canaries_per_epoch=canaries_per_epoch,
        canary_epoch_days=epoch_days,
        store_url=store_url,
        feed_url=feed_url.rstrip("/"),
        client_address_header=client_address_header,
    )
    _log_as_json()
    service = Service(settings)
    app = application(service)

    class Server(uvicorn.Server):
        """Tells open push connections to end before waiting for connections to end."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            service.stop_soon()
            super().handle_exit(sig, frame)

    server = Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=30,
            backlog=2048,
        )
    )
    server.run()
    if service.start_error is not None:
        raise service.start_error
    if not server.started:
        sys.exit(1)


def _log_as_json() -> None:
    """Events as JSON lines on standard error; no library logs requests or values."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(name)s: %(message)s")


@contextmanager
def _open(data: Path, database: str, store_url: str = "") -> Iterator[Settings]:
    settings = Settings(data=data, database_url=database, store_url=store_url)
    key_files.prepare(settings)
    composition.compose(settings, key_files.django_key(settings), {})
    composition.migrate()
    yield settings


def _write(settings: Settings, job: Callable[[store.Transaction], T]) -> T:
    """One transaction beside a server that may be running."""
    connection = connect(settings)
    try:
        connection.begin()
        transaction = store.begin(connection, int(time.time()))
        answer = job(transaction)
        transaction.finish()
        connection.commit()
    except UnspreadError:
        connection.rollback()
        raise
    finally:
        connection.close()
    return answer


@clearinghouse.command()
@_data
@_database
def migrate(data: Path, database: str) -> None:
    """Bring the database to this version's schema."""
    with _open(data, database):
        click.echo("The database is up to date.")


@clearinghouse.command()
@_data
@_database
@_store
def check(data: Path, database: str, store_url: str) -> None:
    """Compare log, database and feed, beside a running server too. Exit status 4 if they differ."""
    with _open(data, database, store_url) as settings:
        bad = 0
        for finding in checking.check(settings):
            click.echo(finding.to_line())
            bad += not finding.is_good
    if bad:
        raise checking.InconsistentError(f"{bad} of the above must not be: call a person")


@clearinghouse.command(name="backup")
@_data
@_database
@click.option("--to", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--keep-days", default=backup.KEEP_DAYS, show_default=True, help="Delete older ones.")
def back_up(data: Path, database: str, to: Path, keep_days: int) -> None:
    """Back up a running clearinghouse into a new directory below the given one.

    It holds private keys and fingerprints: keep it encrypted. An erased fingerprint is gone from
    backups after --keep-days.
    """
    with _open(data, database) as settings:
        now = datetime.now(UTC).replace(microsecond=0)
        click.echo(backup.back_up(settings, to, now, keep_days=keep_days))


@clearinghouse.command()
@_data
@_database
@_store
@click.option("--from", "source", required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--published",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The old data directory's `public`, or a mirror: without it the log may fork.",
)
def restore(
    data: Path, database: str, store_url: str, source: Path, published: Path | None
) -> None:
    """Restore a backup into a new data directory, and check it."""
    settings = Settings(data=data, database_url=database, store_url=store_url)
    size = backup.restore(source, settings, published=published, now=int(time.time()))
    click.echo(f"restored; the log has {size} entries")
    if published is None and not store_url:
        click.echo("the log was not compared with what was published: only for drills", err=True)


@clearinghouse.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_data
@_database
def trace(file: Path, data: Path, database: str) -> None:
    """Say from which partner a leaked list comes.

    FILE holds the list in any text form: every run of 64 or 32 hexadecimal digits is taken for a
    fingerprint. Partners that the canaries in it point at are named; two or three that mixed their
    lists are each named. An innocent partner is named once in a million epochs.
    """
    with _open(data, database) as settings:
        connection = connect(settings, read_only=True)

        def values() -> Iterator[bytes]:
            with file.open(encoding="utf-8", errors="replace") as lines:
                yield from canaries.values_in(lines)

        found = canaries.trace(connection, key_files.canary_key(settings), values)
        known = {each.partner_id: each.name for each in partners.partners(connection)}
        connection.close()
    for line in canaries.words(found, known):
        click.echo(line)


@clearinghouse.group()
def staff() -> None:
    """Invite and dismiss members of staff; the console is at /staff/."""


@staff.command(name="invite")
@click.argument("name")
@_data
@_database
@click.option("--role", type=click.Choice([each.value for each in members.Role]), required=True)
@_by
def invite_member(name: str, data: Path, database: str, role: str, by: str) -> None:
    """Print where NAME makes a passkey: /staff/join/…, good once, for a day."""
    with _open(data, database) as settings:
        chosen = members.Role(role)
        secret = _write(settings, lambda tx: members.invite(tx, name, chosen, by=by))
        click.echo(f"/staff/join/{secret}")


@staff.command(name="dismiss")
@click.argument("name")
@_data
@_database
@_by
def dismiss_member(name: str, data: Path, database: str, by: str) -> None:
    """End NAME's access at once."""
    with _open(data, database) as settings:
        _write(settings, lambda tx: members.dismiss(tx, name, by=by))
        click.echo("dismissed")


@clearinghouse.group()
def partner() -> None:
    """Admit, list and suspend partners."""


@partner.command()
@click.argument("name")
@_data
@_database
@click.option("--role", type=click.Choice(partners.ROLES), default="platform", show_default=True)
@click.option(
    "--scope", "scopes", multiple=True, help="feed, feedback, lookup, …; default both first."
)
@_surfaces
@_countries
@_levels
@_by
def invite(  # noqa: PLR0917 - click passes them by name
    name: str,
    data: Path,
    database: str,
    role: str,
    scopes: tuple[str, ...],
    surfaces: tuple[str, ...],
    countries: tuple[str, ...],
    levels: tuple[str, ...],
    by: str,
) -> None:
    """Print an invitation for NAME, good once, for 14 days."""
    wanted = frozenset(scopes or partners.DEFAULT_SCOPES.split())
    given = Scope.from_words(surfaces, countries, levels)
    with _open(data, database) as settings:
        invitation = _write(
            settings,
            lambda tx: partners.invite(tx, name, role=role, scopes=wanted, by=by, feed_scope=given),
        )
        click.echo(invitation)


@partner.command(name="scope")
@click.argument("partner_id")
@_data
@_database
@_surfaces
@_countries
@_levels
@click.option("--by", "approvers", multiple=True, required=True, help="A member of staff; twice.")
def set_scope(  # noqa: PLR0917 - click passes them by name
    partner_id: str,
    data: Path,
    database: str,
    surfaces: tuple[str, ...],
    countries: tuple[str, ...],
    levels: tuple[str, ...],
    approvers: tuple[str, ...],
) -> None:
    """Change what of the list a partner gets. Its platform reads the list anew and drops the rest.

    For a start only: once two members for onboarding have passkeys, one proposes it at
    /staff/partners and the other decides, and this command refuses. Until then whoever can run it
    is trusted to name two members truly, and the audit trail says that they were named here. What
    is not given is not limited.
    """
    scope = Scope.from_words(surfaces, countries, levels)
    with _open(data, database) as settings:
        _write(
            settings, lambda tx: partners.set_feed_scope_for(tx, partner_id, scope, by=approvers)
        )
        click.echo(scope.to_text())


@partner.command(name="list")
@_data
@_database
def list_partners(data: Path, database: str) -> None:
    """Every partner: id, state, role, digest of its keys, size applied, what it gets, name."""
    with _open(data, database) as settings:
        connection = connect(settings)
        for each in partners.partners(connection):
            words = partners.keys_words(each) if each.signing_key else "-"
            click.echo(
                f"{each.partner_id}\t{each.state}\t{each.role}\t{words}\t{each.applied_size}"
                f"\t{each.feed_scope.to_text()}\t{each.name}"
            )
        connection.close()


@partner.command()
@click.argument("partner_id")
@_data
@_database
@click.option("--by", "approvers", multiple=True, required=True, help="A member of staff; twice.")
def approve(partner_id: str, data: Path, database: str, approvers: tuple[str, ...]) -> None:
    """Approve a partner's keys. It takes part once two members of staff have.

    For a start only: once two members for onboarding have passkeys, they approve at
    /staff/partners, each signed in, and this command refuses. The audit trail says that names
    were given on the command line.
    """
    with _open(data, database) as settings:
        is_active = False
        for name in approvers:
            yes = partial(partners.approve, partner_id=partner_id, by=name, signed=False)
            is_active = _write(settings, yes)
        click.echo("active" if is_active else "one more approval is needed")


@partner.command()
@click.argument("partner_id")
@_data
@_database
@_by
@click.option("--reason", required=True)
def suspend(partner_id: str, data: Path, database: str, by: str, reason: str) -> None:
    """Stop a partner's feed, feedback and keys at once."""
    if not reason.strip():
        raise InputError("say why: the audit trail keeps it")
    with _open(data, database) as settings:
        _write(settings, lambda tx: partners.suspend(tx, partner_id, by=by, reason=reason))
        click.echo("suspended")


@partner.command()
@click.argument("partner_id")
@_data
@_database
@_by
def resume(partner_id: str, data: Path, database: str, by: str) -> None:
    """Let a suspended partner be approved again."""
    with _open(data, database) as settings:
        _write(settings, lambda tx: partners.resume(tx, partner_id, by=by))
        click.echo("waiting for two approvals")


@partner.group()
def key() -> None:
    """Static keys of the older programmes: NCMEC, StopNCII, ThreatExchange."""


@key.command(name="issue")
@click.argument("partner_id")
@click.argument("programme", type=click.Choice(["ncmec", "stopncii", "threatexchange"]))
@_data
@_database
@click.option("--by", "approvers", multiple=True, required=True, help="A member of staff.")
@click.option(
    "--scope",
    default="read feedback",
    show_default=True,
    help="read, feedback, submit; ages=, media=, levels=, windows=yes.",
)
def issue_key(  # noqa: PLR0917 - click passes them by name
    partner_id: str,
    programme: str,
    data: Path,
    database: str,
    approvers: tuple[str, ...],
    scope: str,
) -> None:
    """Print new keys for a partner; they are not shown again.

    A partner that was only invited takes part from then on, so two members of staff say yes.

    For a start only: once two members for onboarding have passkeys, one proposes a key at
    /staff/partners and the other decides, and this command refuses.
    """
    from unspread.clearinghouse import exchange_keys
    from unspread.exchange.listings import Scope

    with _open(data, database) as settings:
        issued = _write(
            settings,
            lambda tx: exchange_keys.issue(
                tx,
                partner_id,
                exchange_keys.Programme(programme),
                Scope.from_text(scope),
                by=approvers,
            ),
        )
    chosen = exchange_keys.Programme(programme)
    for row in exchange_keys.entered(partner_id, chosen, issued):
        click.echo("\t".join(row).rstrip("\t"))


@key.command(name="list")
@click.argument("partner_id", default="")
@_data
@_database
def list_keys(partner_id: str, data: Path, database: str) -> None:
    """Every key: id, partner, what it opens, last day used, end."""
    from unspread.clearinghouse import exchange_keys

    with _open(data, database) as settings:
        connection = connect(settings)
        for each in exchange_keys.keys_of(connection, partner_id):
            used = rules.from_day(each.last_used_day).isoformat() if each.last_used_day else "never"
            ends = (
                datetime.fromtimestamp(each.revoked_at, UTC).isoformat() if each.revoked_at else ""
            )
            click.echo(f"{each.key_id}\t{each.partner_id}\t{each.scope}\t{used}\t{ends}")
        connection.close()


@key.command(name="rotate")
@click.argument("key_id")
@_data
@_database
@_by
@click.option("--overlap-days", default=7.0, show_default=True, help="Both keys open for so long.")
def rotate_key(key_id: str, data: Path, database: str, by: str, overlap_days: float) -> None:
    """Print a key that replaces another; it is not shown again.

    For a start only, like `issue`: later at /staff/partners.
    """
    from unspread.clearinghouse import exchange_keys

    with _open(data, database) as settings:
        seconds = int(overlap_days * store.SECONDS_PER_DAY)
        issued = _write(
            settings,
            lambda tx: exchange_keys.rotate(tx, key_id, overlap_seconds=seconds, by=by),
        )
        click.echo(f"{issued.label}\t{issued.secret}\t{issued.key_id}")


@key.command(name="revoke")
@click.argument("key_id")
@_data
@_database
@_by
def revoke_key(key_id: str, data: Path, database: str, by: str) -> None:
    """Make a key open nothing, at once."""
    from unspread.clearinghouse import exchange_keys

    with _open(data, database) as settings:
        _write(settings, lambda tx: exchange_keys.revoke(tx, key_id, by=by))
        click.echo("revoked")
