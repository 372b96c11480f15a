"""`unspread platform scan` and `unspread platform catalogue`: what is already there."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click
import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from unspread.crypto import sha256
from unspread.errors import InputError, StateError
from unspread.model import MIN_PDQ_QUALITY, Kind, Listing, Part
from unspread.platform_kit.app import follow_all, load_bank, open_catalogue, open_kit, utc_now
from unspread.platform_kit.catalogue_files import (
    Hit,
    ScanLedger,
    on_ray,
    on_this_machine,
    parts_of,
    scan_files,
)
from unspread.platform_kit.catalogue_segments import Segments
from unspread.platform_kit.enrolment import memberships
from unspread.platform_kit.hosted import (
    Bucket,
    Directory,
    Fetcher,
    Hosted,
    Progress,
    Urls,
    scan_hosted,
)
from unspread.platform_kit.policy import Match, action_for, is_searched_for, response_to
from unspread.platform_kit.settings import ListSettings, Response, Settings
from unspread.platform_kit.store import Finding, Origin, Store

_SAY_EVERY_SECONDS: Final = 2.0


def _said_now_and_then(text: Callable[..., str]) -> Callable[..., None]:
    last = [0.0]

    def say(*values: Any) -> None:
        if time.monotonic() - last[0] >= _SAY_EVERY_SECONDS:
            last[0] = time.monotonic()
            click.echo(text(*values), err=True)

    return say


@click.command()
@click.argument("where")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--settings", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--workers", type=click.IntRange(1), help="Confined processes; as in the settings.")
@click.option("--dry-run", is_flag=True, help="Say what would match; remember and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="The result as a line of JSON.")
def scan(  # noqa: PLR0917 - click passes them by name
    where: str, data: Path, file: Path | None, workers: int | None, dry_run: bool, as_json: bool
) -> None:
    """Take what is already hosted into the catalogue, and act on what matches.

    WHERE is a directory, a bucket (s3://…, gs://…, az://…), or a file with a URL on each line,
    whose hosts the settings list as fetch_hosts. It can be stopped and started again, beside a
    running server too.
    """
    settings = Settings.load(data, file, scan_workers=workers)
    progress = asyncio.run(_scan(where, settings, dry_run))
    if as_json:
        click.echo(msgspec.json.encode(progress))
    else:
        click.echo(_progress_text(progress))
    if progress.failed:
        raise StateError("some content could not be had: scan again later")


def _progress_text(progress: Progress) -> str:
    return (
        f"{progress.seen} seen, {progress.known} known before, {progress.remembered} new,"
        f" {progress.matching} match, {progress.unreadable} unreadable, {progress.failed} failed"
    )


async def _scan(where: str, settings: Settings, dry_run: bool) -> Progress:
    kit, pool = open_kit(settings)
    try:
        await follow_all(kit, [name for name, _ in memberships(settings.data)])
        await load_bank(kit)
        async with httpx.AsyncClient(trust_env=False) as http:
            return await scan_hosted(
                kit,
                _hosted(where, settings, http),
                workers=settings.scan_workers,
                dry_run=dry_run,
                report=_said_now_and_then(_progress_text),
            )
    finally:
        pool.close()
        kit.close()


def _hosted(where: str, settings: Settings, http: httpx.AsyncClient) -> Hosted:
    if "://" in where:
        return Bucket(where, settings.max_upload_bytes)
    path = Path(where)
    if path.is_dir():
        return Directory(path)
    if not path.is_file():
        raise InputError("WHERE is a directory, a bucket's address, or a file of URLs")
    if not settings.fetch_hosts:
        raise InputError("the settings list no fetch_hosts: nothing may be fetched")
    return Urls(path, Fetcher(settings.fetch_hosts, settings.max_upload_bytes, http))


@click.group()
def catalogue() -> None:
    """The fingerprints of what is hosted."""


_DATA = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True
)


@catalogue.command("export")
@_DATA
@click.option("--settings", "settings_file", type=click.Path(path_type=Path, exists=True))
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def export(data: Path, settings_file: Path | None, directory: Path) -> None:
    """Bring a DIRECTORY of Parquet files up to date, for scans on many machines.

    Writes what is new since the last time, and anew the files with content forgotten since. The
    setting catalogue_parquet has a running server do the same.
    """
    settings = Settings.load(data, settings_file)
    store = Store(data)
    try:
        with closing(open_catalogue(settings, store)) as hosted:
            written, rewritten = Segments(directory, hosted).update()
    finally:
        store.close()
    click.echo(f"{written} new files, {rewritten} written anew")


@catalogue.command("scan")
@_DATA
@click.option("--settings", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--since", type=int, default=0, help="Only listings changed after this sequence.")
@click.option("--ray", "ray_address", help="Address of a Ray cluster; 'auto' finds one.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--ledger", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Say how much there is to read, and stop.")
@click.option("--no-actions", is_flag=True, help="Print what matches; queue nothing.")
@click.argument("files", nargs=-1, required=True)
def scan_catalogue(  # noqa: PLR0917 - click passes them by name
    data: Path,
    file: Path | None,
    since: int,
    ray_address: str | None,
    workers: int,
    ledger: Path | None,
    dry_run: bool,
    no_actions: bool,
    files: tuple[str, ...],
) -> None:
    """Look in Parquet FILES for everything that is listed; can be stopped and started again.

    FILES are paths, directories of them, or objects in buckets (s3://…). Without --ray a pool of
    processes here does the work.
    """
    settings = Settings.load(data, file)
    files = tuple(each for given in files for each in _parquet_in(given))
    store = Store(data)
    try:
        listed = _listed(store, settings, since)
        words, owners = _words_of(listed)
        if dry_run or not len(words):
            rows = sum(part.rows for part in parts_of(files))
            click.echo(f"{len(words)} listed fingerprints against {rows} rows; nothing was done")
            return
        purpose = sha256(words.tobytes(), "\n".join(files).encode()).hex()
        path = ledger or data / f"catalogue-scan-{purpose[:12]}.jsonl"
        radius_bits = max(one.radius_bits for _, _, _, one in listed)
        hits = scan_files(
            files,
            words,
            radius_bits,
            run=on_ray(ray_address) if ray_address else on_this_machine(workers),
            ledger=ScanLedger(path, purpose),
            report=_said_now_and_then(lambda done, every: f"{done} of {every} rows"),
        )
        found = _findings(hits, [(listed[at], part) for at, part in owners])
        for number, listing, response, findings in found:
            queued = 0
            if not no_actions:
                queued = store.record_findings(
                    number,
                    listing,
                    findings,
                    action_for(response),
                    rule=f"catalogue scan: {listing.level} -> {response}",
                    origin=Origin.CATALOGUE,
                    at=utc_now(),
                )
            click.echo(f"{listing.listing_id}\t{len(findings)} match\t{queued} new actions")
        click.echo(f"up to sequence {store.sequence()}", err=True)
        path.unlink()
    finally:
        store.close()
        sys.stdout.flush()


def _parquet_in(given: str) -> list[str]:
    if "://" in given or not Path(given).is_dir():
        return [given]
    return [str(path) for path in sorted(Path(given).glob("*.parquet"))]


_Listed = tuple[int, str, Listing, ListSettings]
"""List number, its name, the listing, the list's settings."""


def _listed(store: Store, settings: Settings, since: int) -> list[_Listed]:
    names = {each.number: each.name for each in store.lists()}
    found = []
    for number, listing in store.active_listings(since):
        own = settings.list_settings(names[number])
        if own.enabled and not own.shadow and not own.allow:
            found.append((number, names[number], listing, own))
    return found


def _words_of(listed: list[_Listed]) -> tuple[NDArray[np.uint64], list[tuple[int, Part]]]:
    values: list[bytes] = []
    owners: list[tuple[int, Part]] = []
    for at, (_, _, listing, own) in enumerate(listed):
        for each in listing.fingerprints:
            is_worth = each.kind is Kind.PDQ and (each.quality or 0) >= MIN_PDQ_QUALITY
            if is_worth and is_searched_for(each, own):
                values.append(each.value)
                owners.append((at, each.part))
    return np.frombuffer(b"".join(values), "<u8").reshape(-1, 4), owners


def _findings(
    hits: list[Hit], listed: list[tuple[_Listed, Part]]
) -> list[tuple[int, Listing, Response, list[Finding]]]:
    """What the lists' radii and policies act on; the nearest match of each pair decides."""
    best: dict[tuple[int, int, str], tuple[bool, int, _Listed]] = {}
    for hit in hits:
        (number, name, listing, own), part = listed[hit.listing]
        if hit.distance_bits <= own.radius_bits:
            key = (number, int(listing.listing_id), hit.reference)
            here = (part is Part.WINDOW, hit.distance_bits, (number, name, listing, own))
            best[key] = min(best.get(key, here), here, key=lambda one: one[:2])
    found: dict[tuple[int, int, Response], tuple[Listing, list[Finding]]] = {}
    for (number, listing_id, reference), (is_window, distance_bits, about) in best.items():
        _, name, listing, own = about
        match = Match(
            name,
            number,
            listing.listing_id,
            listing.level,
            listing.media,
            Kind.PDQ,
            distance_bits,
            part=Part.WINDOW if is_window else Part.WHOLE,
        )
        response = response_to(match, own)
        if action_for(response) is not None:
            findings = found.setdefault((number, listing_id, response), (listing, []))[1]
            findings.append(Finding(reference, Kind.PDQ, distance_bits))
    return [
        (number, listing, response, findings)
        for (number, _, response), (listing, findings) in sorted(found.items())
    ]
