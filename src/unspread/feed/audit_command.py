"""`unspread audit`: check a public log with nothing but its address."""

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click
import httpx
import msgspec

from unspread.errors import InputError, TransportError, TrustError
from unspread.feed.audit import MAX_BUNDLE_BYTES, Audit, AuditState, Report
from unspread.feed.reader import bounded
from unspread.transparency.note import MAX_NOTE_BYTES, SignatureKind, VerifierKey
from unspread.transparency.policy import LogPolicy, PolicyFile
from unspread.transparency.tiles import TILE_WIDTH, bundle_path, decode_bundle

_TIMEOUT_SECONDS: Final = 20
_AT_ONCE: Final = 8
_MOST_ABOUT_BYTES: Final = 256 * 1024


class _About(msgspec.Struct):
    log_origin: str
    log_key: str


class _Site:
    """The files of one clearinghouse."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client = client
        self._url = url.rstrip("/")

    def get(self, path: str, max_bytes: int) -> bytes:
        try:
            with self._client.stream("GET", f"{self._url}/{path}") as response:
                if response.status_code != 200:
                    raise TransportError(f"/{path} answered {response.status_code}")
                return bounded(response.iter_bytes(), max_bytes)
        except httpx.HTTPError as error:
            raise TransportError(f"/{path} cannot be fetched: {type(error).__name__}") from error

    def announced_key(self) -> VerifierKey:
        """The key that the site itself says is its log's."""
        try:
            about = msgspec.json.decode(self.get("v1/about", _MOST_ABOUT_BYTES), type=_About)
            public = base64.urlsafe_b64decode(about.log_key + "=" * (-len(about.log_key) % 4))
        except (msgspec.DecodeError, ValueError):
            raise InputError("this is not the address of a clearinghouse") from None
        return VerifierKey(about.log_origin, SignatureKind.ED25519, public)


def _default_state_file(url: str) -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return (
        Path(home)
        / "unspread"
        / "audit"
        / f"{sha256(url.rstrip('/').encode()).hexdigest()[:16]}.json"
    )


def _save(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.replace(file)


def run_audit(audit: Audit, site: _Site) -> Report:
    """Read what is new in the log and check it.

    Raises:
        TrustError: if the log is not what it signed, or does not continue what it was.
        TransportError: if it cannot be read.
    """
    audit.take_checkpoint(site.get("log/checkpoint", MAX_NOTE_BYTES))
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for some in _chunks(audit.paths(), 8 * _AT_ONCE):
            bodies = threads.map(
                lambda wanted: site.get(f"log/{wanted[0]}", MAX_BUNDLE_BYTES), some
            )
            for (_, width), body in zip(some, bodies, strict=True):
                audit.take_bundle(body, width)
    audit.finish()
    size = audit.state.size
    wrong: list[int] = []
    for epoch, index, public in audit.canaries_to_check():
        number, offset = divmod(index, TILE_WIDTH)
        width = min(size - number * TILE_WIDTH, TILE_WIDTH)
        if width <= offset:
            wrong.append(epoch)
            continue
        body = site.get(f"log/{bundle_path(number, width)}", MAX_BUNDLE_BYTES)
        if decode_bundle(body, width)[offset] != public:
            wrong.append(epoch)
    audit.canaries_checked(wrong)
    return audit.report()


def _chunks(items: Iterator[tuple[str, int]], count: int) -> Iterator[list[tuple[str, int]]]:
    chunk: list[tuple[str, int]] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == count:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 86400:.0f} days"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")


def _lines(report: Report, last: datetime | None, now: datetime) -> Iterator[tuple[str, str]]:
    since = f"{_duration((now - last).total_seconds())} ago" if last else ""
    yield "Log", report.origin
    grown = (
        f", {_number(report.grown)} more than {since}" if last else ", audited for the first time"
    )
    yield "Size", f"{_number(report.size)} entries{grown}"
    if report.per_day is not None:
        yield "Growth", f"about {_number(report.per_day)} entries a day"
    yield (
        "Contents",
        (
            f"{_number(report.blinded)} sealed (listings, changes, padding: nobody can tell), "
            f"{_number(report.public)} public"
        ),
    )
    if report.witnesses_known:
        signed = ", ".join(
            f"{name} {_duration((now - at).total_seconds())} ago"
            for name, at in sorted(report.witnesses.items())
        )
        yield (
            "Witnesses",
            f"{len(report.witnesses)} of {report.witnesses_known}: {signed or 'none'}",
        )
    else:
        yield "Witnesses", "none asked for: give --policy FILE to name those you trust"
    if report.platforms:
        slowest = report.platforms[0]
        speed = (
            f", usually within {_duration(slowest.median_seconds)}, 19 of 20 within "
            f"{_duration(slowest.p95_seconds or 0)}"
            if slowest.median_seconds is not None
            else ""
        )
        yield "Slowest platform", f"{slowest.name}: {_number(slowest.behind)} entries behind{speed}"
        for each in report.platforms[1:]:
            yield "", f"{each.name}: {_number(each.behind)} entries behind"
        yield "", "(a withdrawal is an entry like all others; what platforms say is their word)"
    else:
        yield "Platforms", "none has acknowledged anything yet"
    if report.epochs_open or report.epochs_checked:
        yield (
            "Canaries",
            (f"{report.epochs_open} epochs under way, {report.epochs_checked} checked"),
        )
    yield "Entries", "every one read; they give the root that was signed"
    if last:
        yield "History", f"continues the log as it was {since}"


def _print(report: Report, last: datetime | None, now: datetime) -> None:
    for name, text in _lines(report, last, now):
        click.echo(f"{name:<17} {text}")
    if not report.problems:
        click.echo(f"{'Wrong':<17} nothing")
    for problem in report.problems:
        click.echo(f"{'WRONG':<17} {problem}")


def _json(value: object) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@click.command()
@click.argument("url")
@click.option("--key", help="The log's key (name+id+key), learnt from somebody you trust.")
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A tlog-policy file with the log's key and the witnesses you trust.",
)
@click.option(
    "--state",
    "state_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to remember this audit for the next. [default: in your home]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def audit(  # noqa: PLR0917 - click passes them by name
    clock: Callable[[], datetime] | None,
    url: str,
    key: str | None,
    policy_file: Path | None,
    state_file: Path | None,
    as_json: bool,
) -> None:
    """Check a public log.

    Reads every entry of the log at URL (the clearinghouse's address), rebuilds its tree, and
    compares it with what is signed, with what the last audit saw, and with what platforms have
    acknowledged. Ends with status 4 if anything is wrong.
    """
    state_file = state_file or _default_state_file(url)
    saved = AuditState.from_bytes(state_file.read_bytes()) if state_file.exists() else None
    now = clock() if clock else datetime.now(UTC)
    with httpx.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client:
        site = _Site(client, url)
        if policy_file is not None:
            policy = PolicyFile.from_text(policy_file.read_text()).for_log()
        elif key is not None:
            policy = LogPolicy(VerifierKey.from_text(key))
        elif saved is not None:
            policy = LogPolicy(VerifierKey.from_text(saved.log_key))
        else:
            policy = LogPolicy(site.announced_key())
            click.echo(
                "The log's key was taken from the log itself. Confirm it with somebody you trust:\n"
                f"  {policy.log_key.to_text()}",
                err=True,
            )
        last = saved.observations[-1][0] if saved and saved.observations else None
        check = Audit(policy, saved, now)
        try:
            report = run_audit(check, site)
        except TrustError as error:
            if as_json:
                click.echo(json.dumps({"origin": policy.origin, "problems": [str(error)]}))
            raise
    _save(state_file, check.state.to_bytes())
    if as_json:
        click.echo(json.dumps(asdict(report), default=_json))
    else:
        _print(report, last, now)
    if report.problems:
        sys.exit(4)
