"""At least 100 benign, freely licensed pictures: from Debian's packages, and drawn here.

Nothing of them is kept in the repository. Debian's packages are fetched with `apt-get download`
(no root needed) into a cache and unpacked there; each names its licences in its copyright file:

| Package | Licences | Shows |
| --- | --- | --- |
| lomiri-wallpapers-16.04, -20.04 | CC-BY-4.0, CC-BY-SA-3.0/4.0, CC0 | photographs |
| mate-backgrounds | GPL-2+, CC-BY-SA-4.0 | photographs |
| plasma-workspace-wallpapers | GPL-2+ (LGPL, CC-BY-SA for some) | photographs, drawings |
| ukui-wallpapers | CC-BY-SA-3.0 | photographs, drawings |
| tuxpaint-stamps-default | GPL-2 (most photos: public domain) | things, laid on drawn land |
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from unspread.fingerprint import pdq
from unspread.testing.samples import landscape

PACKAGES: Final = (
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "ukui-wallpapers",
    "tuxpaint-stamps-default",
)
LONGER_SIDE: Final = 960
STAMPED: Final = 40
"""Drawn landscapes with three photographed things on each."""
DISTINCT_BITS: Final = 90
"""Pictures nearer than this, in any turn, are two sizes of one: the first is taken."""
MIN_QUALITY: Final = 80
_PATTERNS: Final = ("mate/desktop", "mate/abstract", "images_dark")
"""Folders of tiled patterns, and of second versions of a picture that is already there."""
_STAMPS: Final = "tuxpaint-stamps-default"


def cache() -> Path:
    """Where packages are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(home) / "unspread-benchmarks"


def fetch() -> dict[str, Path]:
    """Package → where it is unpacked; those that Debian does not give us are left out."""
    found = {}
    for name in PACKAGES:
        folder = cache() / name
        if not folder.exists():
            if not shutil.which("apt-get"):
                continue
            folder.parent.mkdir(parents=True, exist_ok=True)
            got = subprocess.run(
                ["apt-get", "download", "-qq", name], cwd=folder.parent, check=False
            )
            if got.returncode:
                continue
            (archive,) = folder.parent.glob(f"{name}_*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
            archive.unlink()
        found[name] = folder
    return found


def pictures(count: int) -> list[Image.Image]:
    """`count` distinct pictures; those of Debian first, then drawn ones."""
    chosen: list[Image.Image] = []
    values: list[bytes] = []
    for picture in _candidates():
        picture.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
        pixels = np.asarray(picture)
        turned = pdq.fingerprints(pdq.small_matrices(pixels, pdq.ORIENTATIONS))
        if (turned[0].quality or 0) < MIN_QUALITY or any(
            pdq.distance_bits(turn.value, value) < DISTINCT_BITS
            for turn in turned
            for value in values
        ):
            continue
        values.append(turned[0].value)
        chosen.append(picture)
        if len(chosen) == count:
            break
    return chosen


def _candidates() -> Iterator[Image.Image]:
    packages = fetch()
    stamps = sorted((packages.pop(_STAMPS)).rglob("*.png")) if _STAMPS in packages else []
    themes = set()
    for folder in packages.values():
        for path in sorted(folder.rglob("*")):
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
    # Each thing is shown once: pictures that share one would not be distinct.
    large = [path for path in stamps if path.stat().st_size > 30_000]
    order = np.random.default_rng(0).permutation(len(large))
    for seed in range(min(STAMPED, len(large) // 3)):
        random = np.random.default_rng(seed)
        scene = landscape(seed, LONGER_SIDE, 720).convert("RGBA")
        for choice in order[3 * seed : 3 * seed + 3]:
            with Image.open(large[choice]) as image:
                thing = image.convert("RGBA")
            thing.thumbnail((400, 400))
            place = random.integers(0, (LONGER_SIDE - 300, 720 - 300))
            scene.alpha_composite(thing, (int(place[0]), int(place[1])))
        yield scene.convert("RGB")
    for seed in range(10_000, 20_000):
        yield landscape(seed, LONGER_SIDE, 720)


def _opaque(image: Image.Image) -> Image.Image:
    above = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
