"""Benign, freely licensed photographs for the recall table, out of Debian's packages.

Nothing of them is kept in the repository. The packages are fetched with `apt-get download` (no
root needed) into a cache and unpacked there; each names its authors and licences in its copyright
file. The split is by package, so that no author, camera or motif stands on both sides:

| Set | Package | Licences | Shows |
| --- | --- | --- | --- |
| tuning | lomiri-wallpapers-16.04, -20.04 | CC-BY-4.0, CC-BY-SA-3.0/4.0, CC0 | photographs |
| tuning | mate-backgrounds | GPL-2+, CC-BY-SA-4.0 | photographs |
| tuning | plasma-workspace-wallpapers | GPL-2+, LGPL, CC-BY-SA | photographs, drawings |
| tuning | ukui-wallpapers | CC-BY-SA-3.0 | photographs, drawings |
| held out | gcompris-qt-data | CC-BY, CC-BY-SA, CC0, public domain | monuments, animals |

Rules and numbers of `unspread.fingerprint` may be chosen by what they do to the tuning pictures.
The held-out ones are looked at once a version is done, and are what is reported.
"""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from unspread.fingerprint import pdq

WALLPAPERS: Final = (
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "ukui-wallpapers",
)
GCOMPRIS: Final = "gcompris-qt-data"
_COLLECTIONS: Final = (
    "explore_monuments",
    "erase",
    "explore_world_animals",
    "explore_farm_animals",
)
"""Of GCompris: resource files that hold photographs as WebP, one after another, not compressed."""

LONGER_SIDE: Final = 960
DISTINCT_BITS: Final = 90
"""Pictures nearer than this, in any turn, are two sizes of one: the first is taken."""
MIN_QUALITY: Final = 80
_PATTERNS: Final = ("mate/desktop", "mate/abstract", "images_dark")
"""Folders of tiled patterns, and of second versions of a picture that is already there."""


def cache() -> Path:
    """Where packages are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(home) / "unspread-benchmarks"


def tuning() -> list[bytes]:
    """Pictures by which rules may be chosen, as PNG files: about 60."""
    return _prepared("tuning", _wallpapers)


def held_out() -> list[bytes]:
    """Pictures that judge them, as PNG files: about 100."""
    return _prepared("held-out", _photographs)


def _prepared(name: str, candidates: Callable[[], Iterator[Image.Image]]) -> list[bytes]:
    """Scaled and chosen once, as the packages do not change."""
    folder = cache() / f"{name}-{LONGER_SIDE}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        partial.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(_distinct(candidates())):
            picture.save(partial / f"{number:03}.png")
        partial.rename(folder)
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def unpacked(name: str) -> Path:
    """A package of Debian, fetched and unpacked once."""
    folder = cache() / name
    if not folder.exists():
        if not shutil.which("apt-get"):
            raise SystemExit(f"the recall table needs Debian's package {name} (apt-get download)")
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", name], cwd=folder.parent, check=True)
        (archive,) = folder.parent.glob(f"{name}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        archive.unlink()
    return folder


def _distinct(candidates: Iterator[Image.Image]) -> list[Image.Image]:
    chosen: list[Image.Image] = []
    values: list[bytes] = []
    for picture in candidates:
        picture.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
        pixels = np.asarray(picture)
        turned = pdq.fingerprints(pdq.small_matrices(pixels, pdq.ORIENTATIONS))
        if (turned[0].quality or 0) >= MIN_QUALITY and not any(
            pdq.distance_bits(turn.value, value) < DISTINCT_BITS
            for turn in turned
            for value in values
        ):
            values.append(turned[0].value)
            chosen.append(picture)
    return chosen


def _wallpapers() -> Iterator[Image.Image]:
    themes = set()
    for name in WALLPAPERS:
        for path in sorted(unpacked(name).rglob("*")):
            if any(each in path.as_posix() for each in _PATTERNS):
                continue
            # KDE keeps one picture in several shapes, which windows rightly take for one.
            theme = path.parent if path.parent.name == "images" else path
            if theme in themes:
                continue
            if path.suffix in {".jpg", ".png", ".webp"} and path.stat().st_size > 40_000:
                with Image.open(path) as image:
                    if min(image.size) >= 400 and not path.is_symlink():
                        themes.add(theme)
                        image.draft("RGB", (2 * LONGER_SIDE, 2 * LONGER_SIDE))
                        yield _opaque(image)


def _photographs() -> Iterator[Image.Image]:
    folder = unpacked(GCOMPRIS) / "usr/share/gcompris-qt/rcc"
    for name in _COLLECTIONS:
        data = (folder / f"{name}.rcc").read_bytes()
        for found in re.finditer(rb"RIFF(.{4})WEBP", data, re.DOTALL):
            end = found.start() + 8 + int.from_bytes(found[1], "little")
            with Image.open(io.BytesIO(data[found.start() : end])) as image:
                if min(image.size) >= 400:
                    yield _opaque(image)


def _opaque(image: Image.Image) -> Image.Image:
    above = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
