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
from unspread.feed.audit import (
    MAX_BUNDLE_BYTES,
    MAX_DOCUMENT_BYTES,
    Audit,
    AuditState,
    PlatformReport,
    Report,
)
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
    for label, path in audit.documents_to_read():
        try:
            audit.take_document(label, site.get(path, MAX_DOCUMENT_BYTES))
        except TransportError:
            audit.take_document(label, None)
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
    if seconds < 1.5:
        return "a second"
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 86400:.0f} days"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")


def _count(value: int, one: str, many: str) -> str:
    return f"{_number(value)} {one if value == 1 else many}"


def _lines(report: Report, last: datetime | None, now: datetime) -> Iterator[tuple[str, str]]:
    """What an audit says to people: a word, and what there is to say; no word: more of it."""

    def ago(at: datetime) -> str:
        return f"{_duration(max(0.0, (now - at).total_seconds()))} ago"

    yield "Log", report.origin
    if report.is_signed_twice:
        yield "", "signed by two keys; one is safe against quantum computers (ML-DSA-44)"
    yield "Size", _count(report.size, "entry", "entries")
    if last:
        yield "", f"{_number(report.grown)} more than at the last audit, {ago(last)}"
    if report.per_day is not None:
        yield "Growth", f"about {_number(report.per_day)} entries a day"
    else:
        yield "Growth", "not known yet: ask again in an hour"
    yield (
        "Contents",
        f"{_number(report.blinded)} sealed: a listing, a removal and padding look alike",
    )
    yield (
        "",
        f"{_number(report.public)} public: what platforms, and the clearinghouse itself, state",
    )
    yield from _witness_lines(report, ago)
    yield from _platform_lines(report, ago)
    if report.epochs_open or report.epochs_checked:
        yield (
            "Planted entries",
            f"at most {_number(report.most_withheld)} may be kept from a platform, to trace leaks;",
        )
        if report.epochs_checked:
            told = _count(report.epochs_checked, "earlier set was", "earlier sets were")
            yield "", f"{told} revealed and checked, entry by entry"
    yield from _policy_lines(report)
    yield "Checked", "every entry was read; together they are what was signed"
    if last:
        yield "", "they continue what the last audit saw: nothing was changed or taken out"


def _witness_lines(report: Report, ago: Callable[[datetime], str]) -> Iterator[tuple[str, str]]:
    if not report.witnesses_known:
        yield "Witnesses", "none: nobody else vouches that all are shown the same log"
        return
    whose = "that the clearinghouse names" if report.witnesses_are_own else "that you trust"
    met = "enough" if report.has_quorum else "TOO FEW"
    signed = f"{len(report.witnesses)} of {report.witnesses_known} {whose}"
    yield "Witnesses", f"{signed} have signed: {met}"
    for name, at in sorted(report.witnesses.items()):
        yield "", f"{name}, {ago(at)}"
    if report.witnesses_are_own:
        yield "", "(give --policy FILE to count those whom you trust instead)"


def _platform_lines(report: Report, ago: Callable[[datetime], str]) -> Iterator[tuple[str, str]]:
    if not report.platforms:
        yield "Platforms", "none takes part yet"
        return
    yield "Platforms", "slowest to honour removals first, each by its own word:"
    for each in report.platforms:
        yield "", f"{each.name}: {_platform_words(each, ago)}"


def _platform_words(platform: PlatformReport, ago: Callable[[datetime], str]) -> str:
    if platform.acknowledged_at is None:
        return "HAS A FEED AND NEVER SAID THAT IT APPLIED ANYTHING"
    words = "has applied everything"
    if platform.behind:
        words = f"{_count(platform.behind, 'entry', 'entries')} behind"
        if platform.behind_since is not None:
            words += f", the oldest known {ago(platform.behind_since)}"
    if platform.median_seconds is not None and platform.p95_seconds is not None:
        words += (
            f"; usually within {_duration(platform.median_seconds)},"
            f" 19 of 20 times within {_duration(platform.p95_seconds)}"
        )
    return words


def _policy_lines(report: Report) -> Iterator[tuple[str, str]]:
    documents = report.documents
    if not report.policies:
        return
    words = []
    release = documents.get("release", {}).get("unspread")
    if release:
        words.append(f"software {release}")
    if "rules" in documents:
        words.append("rules")
    if "keys" in documents:
        words.append("keys")
    known = documents.get("partners", {}).get("partners")
    if isinstance(known, list):
        words.append(_count(len(known), "partner", "partners"))
    others = sorted(documents.keys() - {"release", "rules", "keys", "partners"})
    yield "Goes by", ", ".join([*words, *others]) or "documents that are not served"
    yield "", "each public, and as its digest in the log says"


def _print(report: Report, last: datetime | None, now: datetime) -> None:
    for name, text in _lines(report, last, now):
        click.echo(f"{name:<16} {text}")
    if not report.problems:
        click.echo(f"{'Wrong':<16} nothing")
    for problem in report.problems:
        click.echo(f"{'WRONG':<16} {problem}")


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
