"""The commands `hash` and `compare`: fingerprints without any service."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from unspread.errors import UnreadableMediaError
from unspread.fingerprint import fingerprint_file
from unspread.fingerprint.video import distances, score
from unspread.model import MATCH_RADIUS_BITS, Fingerprint, Kind, Media, MediaFingerprint, Part

_PATH = click.Path(path_type=Path)
_PROGRESS_FROM_BYTES = 32 * 2**20
"""Smaller files are done before a bar is read."""


@click.command()
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="FILE…")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each file.")
def hash_files(paths: tuple[Path, ...], as_json: bool) -> None:
    """Fingerprint pictures and videos, on this machine only.

    A directory stands for all files in it. Exit status 2 if any file could not be read.
    """
    refused = 0
    for path in _files(paths):
        try:
            result = _with_progress(path)
        except UnreadableMediaError as error:
            refused += 1
            click.echo(f"unspread: {path}: {error}", err=True)
            continue
        click.echo(json.dumps(_record(path, result)) if as_json else _text(path, result))
    if refused:
        sys.exit(2)


@click.command()
@click.argument("one", type=_PATH, metavar="A")
@click.argument("other", type=_PATH, metavar="B")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def compare(one: Path, other: Path, as_json: bool) -> None:
    """Say how alike two pictures or videos are, and whether a platform would match them."""
    record, words = comparison(fingerprint_file(one), fingerprint_file(other))
    click.echo(json.dumps(record) if as_json else words)


def comparison(one: MediaFingerprint, other: MediaFingerprint) -> tuple[dict[str, Any], str]:
    """What is to be said of two files: as values, and in words."""
    if one.first(Kind.SHA256) == other.first(Kind.SHA256):
        return {"match": True, "identical": True}, "The files are the same, byte for byte."
    first, second = (
        [each for each in some.fingerprints if each.kind is Kind.PDQ] for some in (one, other)
    )
    nearest = int(distances(first, second).min())
    record: dict[str, Any] = {"identical": False, "distance_bits": nearest}
    if Media.VIDEO not in {one.media, other.media}:
        whole = int(distances(first[:1], second[:1]).item())
        record |= {"whole_distance_bits": whole, "match": nearest <= MATCH_RADIUS_BITS}
        if nearest < whole and record["match"] and whole > MATCH_RADIUS_BITS:
            return record, (
                f"A part of one is a part of the other ({nearest} of 256 bits differ; "
                f"{whole} of the whole): cropped, covered, or inside another picture."
            )
        return record, f"{whole} of 256 bits differ: {_likeness(whole)}."
    shares = score(first, second, MATCH_RADIUS_BITS)
    a_picture = Media.IMAGE in {one.media, other.media}
    record |= {
        "match": shares.is_match or (a_picture and shares.matched_of_query > 0),
        "matched_of_a": shares.matched_of_query,
        "frames_of_a": shares.frames_of_query,
        "matched_of_b": shares.matched_of_listing,
        "frames_of_b": shares.frames_of_listing,
    }
    if a_picture:
        found = "is a frame of" if record["match"] else "is not found in"
        return record, f"The picture {found} the video; the nearest is {nearest} of 256 bits away."
    verdict = "the same, or one is part of the other" if record["match"] else "different"
    return record, (
        f"{shares.matched_of_query} of {shares.frames_of_query} frames of the first and "
        f"{shares.matched_of_listing} of {shares.frames_of_listing} of the second "
        f"have their like in the other: the videos are {verdict}."
    )


def _likeness(bits: int) -> str:
    if bits == 0:
        return "the pictures look the same"
    if bits <= MATCH_RADIUS_BITS:
        return f"the same picture, changed (a match is {MATCH_RADIUS_BITS} or fewer)"
    return f"different pictures, or one much changed (a match is {MATCH_RADIUS_BITS} or fewer)"


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (each for each in sorted(path.rglob("*")) if each.is_file())
        else:
            yield path


def _with_progress(path: Path) -> MediaFingerprint:
    try:
        is_long = path.stat().st_size >= _PROGRESS_FROM_BYTES
    except OSError:
        is_long = False
    if not (is_long and sys.stderr.isatty()):
        return fingerprint_file(path)
    with click.progressbar(length=1000, label=path.name, file=sys.stderr) as bar:
        return fingerprint_file(path, progress=lambda done: bar.update(int(done * 1000) - bar.pos))


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
    lines = [f"{path}: {result.media}, {result.width} x {result.height}"]
    if result.media is Media.VIDEO:
        count = sum(each.part is Part.FRAME for each in result.fingerprints)
        lines.append(f"  frames  {count} different of {result.frames_seen}")
    else:
        lines.append(f"  pdq     {_hex(first)}  quality {quality}")
    lines += [f"  {kind:7} {_hex(result.first(kind))}" for kind in (Kind.SHA256, Kind.MD5)]
    return "\n".join(lines)
