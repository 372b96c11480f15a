"""The commands `hash` and `compare`: fingerprints without any service."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from unspread.errors import UnreadableMediaError
from unspread.fingerprint.confined import patient_decoder
from unspread.fingerprint.digest import Progress
from unspread.fingerprint.pdq import distance_bits
from unspread.fingerprint.result import MediaScan, Sampling
from unspread.fingerprint.score import best_of, best_score, distances, score, shows_picture
from unspread.model import (
    MATCH_RADIUS_BITS,
    MIN_PDQ_QUALITY,
    VALUE_BYTES,
    Fingerprint,
    Kind,
    Media,
    MediaFingerprint,
    Part,
)

_PATH = click.Path(path_type=Path)
_PROGRESS_FROM_BYTES = 4 * 2**20
"""Smaller files are done before a bar is read."""


@click.command()
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="FILE…")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each file.")
def hash_files(paths: tuple[Path, ...], as_json: bool) -> None:
    """Fingerprint pictures and videos, on this machine only.

    A directory stands for all files in it. Exit status 2 if there is no file, or any file could
    not be read.
    """
    done = refused = 0
    with patient_decoder() as decoder:
        for path in _files(paths):
            done += 1
            try:
                with _progress(path) as progress:
                    result = decoder.fingerprint(path, progress)
            except UnreadableMediaError as error:
                refused += 1
                click.echo(f"unspread: {_shown(path)}: {error}", err=True)
                continue
            click.echo(json.dumps(_record(path, result)) if as_json else _text(path, result))
    if refused or not done:
        sys.exit(2)


@click.command()
@click.argument("one", type=_PATH, metavar="A")
@click.argument("other", type=_PATH, metavar="B")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def compare(one: Path, other: Path, as_json: bool) -> None:
    """Say how alike two pictures or videos are, turned, mirrored, bordered or cut.

    A platform that looks at keyframes alone sees less of a video than this command does.
    """
    with patient_decoder() as decoder:
        with _naming(one), _progress(one) as progress:
            first = decoder.fingerprint(one, progress)
        with _naming(other), _progress(other) as progress:
            second = decoder.fingerprint(other, progress)
        with _naming(other), _progress(other) as progress:
            scan = decoder.scan(other, sampling=Sampling.EVERY_SECOND, progress=progress)
    record, words = comparison(first, second, scan)
    click.echo(json.dumps(record) if as_json else words)


def comparison(
    one: MediaFingerprint, other: MediaFingerprint, scan: MediaScan
) -> tuple[dict[str, Any], str]:
    """What is to be said of two files, of which the other was scanned too: values, and words."""
    if one.first(Kind.SHA256) in scan.digests:
        return {"match": True, "identical": True}, "The files are the same, byte for byte."
    first, second = (
        [each for each in some.fingerprints if each.kind is Kind.PDQ] for some in (one, other)
    )
    if Media.VIDEO not in {one.media, other.media}:
        return _of_pictures(first, scan)
    record: dict[str, Any] = {"identical": False}
    record["distance_bits"] = nearest = _nearest(second + scan.probes, first)
    if Media.IMAGE in {one.media, other.media}:
        record["match"] = nearest <= MATCH_RADIUS_BITS
        verdict = "is a frame of" if record["match"] else "is not found in"
        return record, f"The picture {verdict} the video: {_bits(nearest)} differ ({_RULE})."
    found = best_of(
        (score(second, first, MATCH_RADIUS_BITS), best_score(scan, first, MATCH_RADIUS_BITS))
    )
    record |= {
        "match": found.is_match,
        "matched_of_a": found.matched_of_listing,
        "frames_of_a": found.frames_of_listing,
        "matched_of_b": found.matched_of_query,
        "frames_of_b": found.frames_of_query,
    }
    verdict = "the same, or one is part of the other" if record["match"] else "different"
    if found.matched_of_query and not (record["match"] or found.is_varied):
        verdict += " but for one view, as of a title card"
    return record, (
        f"{found.matched_of_listing} of {found.frames_of_listing} frames of A and "
        f"{found.matched_of_query} of {found.frames_of_query} frames of B "
        f"have their like in the other: the videos are {verdict}."
    )


def _of_pictures(listed: list[Fingerprint], scan: MediaScan) -> tuple[dict[str, Any], str]:
    upright = distance_bits(listed[0].value, scan.fingerprint.value)
    wholes = [each for each in scan.probes if each.part is Part.WHOLE]
    whole, nearest = _nearest(wholes, listed[:1]), _nearest(scan.probes, listed)
    record = {
        "identical": False,
        "distance_bits": nearest,
        "whole_distance_bits": upright,
        "match": shows_picture(scan, listed),
    }
    if upright == 0:
        return record, "The pictures look the same: no bit differs."
    if not record["match"]:
        but = ", that share what looks like one part" if nearest <= MATCH_RADIUS_BITS else ""
        return (
            record,
            f"{_bits(upright)} differ: different pictures{but}, or one much changed ({_RULE}).",
        )
    if upright <= MATCH_RADIUS_BITS:
        return record, f"{_bits(upright)} differ: the same picture, changed ({_RULE})."
    if whole <= MATCH_RADIUS_BITS:
        return record, (
            f"{_bits(whole)} differ: the same picture turned, mirrored or bordered ({_RULE})."
        )
    return record, (
        f"Parts of one are parts of the other: {_bits(nearest)} differ, {upright} of the whole "
        f"({_RULE}). Cropped, covered, or inside another picture."
    )


_PDQ_BITS = 8 * VALUE_BYTES[Kind.PDQ]
_RULE = f"a match is {MATCH_RADIUS_BITS} or fewer"


def _bits(count: int) -> str:
    return f"{count} of {_PDQ_BITS} bits"


def _nearest(probes: list[Fingerprint], listed: list[Fingerprint]) -> int:
    """Bits between the nearest two of those that show enough to be compared, else all of them."""
    worth = [
        [each for each in some if (each.quality or 0) >= MIN_PDQ_QUALITY]
        for some in (probes, listed)
    ]
    if not all(worth):
        return _PDQ_BITS
    least: int = distances(*worth).min().item()
    return least


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """With the file's name in the error: one of two may be at fault."""
    try:
        yield
    except UnreadableMediaError as error:
        raise UnreadableMediaError(f"{_shown(path)}: {error}") from error


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = [each for each in sorted(path.rglob("*")) if each.is_file()]
        if not inside:
            click.echo(f"unspread: {_shown(path)}: no files in it", err=True)
        yield from inside


@contextmanager
def _progress(path: Path) -> Iterator[Progress]:
    """A bar, if it is long enough to be seen and there is somebody to see it."""
    try:
        is_long = path.stat().st_size >= _PROGRESS_FROM_BYTES
    except OSError:
        is_long = False
    if not (is_long and sys.stderr.isatty()):
        yield lambda _: None
        return
    with click.progressbar(length=1000, label=_shown(path.name), file=sys.stderr) as bar:
        yield lambda done: bar.update(int(done * 1000) - bar.pos)


def _shown(path: Path | str) -> str:
    """A name that may be anybody's, on one line and without what a terminal would obey."""
    name = click.format_filename(path)
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in name)


def _hex(fingerprint: Fingerprint | None) -> str | None:
    return fingerprint.value.hex() if fingerprint else None


def _record(path: Path, result: MediaFingerprint) -> dict[str, Any]:
    first = result.first(Kind.PDQ)
    record: dict[str, Any] = {
        "path": str(path),
        "media": result.media,
        "pdq": _hex(first),
        "quality": first.quality if first else None,
        "sha256": _hex(result.first(Kind.SHA256)),
        "md5": _hex(result.first(Kind.MD5)),
        "width": result.width,
        "height": result.height,
    }
    for name, part in (("frames", Part.FRAME), ("windows", Part.WINDOW)):
        some = [
            {"pdq": _hex(each), "quality": each.quality}
            for each in result.fingerprints
            if each.part is part
        ]
        if some:
            record[name] = some
    if result.media is Media.VIDEO:
        record |= {"duration_seconds": result.duration_seconds, "frames_seen": result.frames_seen}
    return record | ({"notes": list(result.notes)} if result.notes else {})


def _text(path: Path, result: MediaFingerprint) -> str:
    first = result.first(Kind.PDQ)
    quality = (first.quality or 0) if first else 0
    lines = [f"{_shown(path)}: {result.media}, {result.width} x {result.height}"]
    if result.media is Media.VIDEO:
        count = sum(each.part is Part.FRAME for each in result.fingerprints)
        lines.append(f"  frames  {count} different of {result.frames_seen}")
    else:
        lines.append(f"  pdq     {_hex(first)}  quality {quality}")
    lines += [f"  {kind:7} {_hex(result.first(kind))}" for kind in (Kind.SHA256, Kind.MD5)]
    return "\n".join(lines)
