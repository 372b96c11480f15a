"""The page's scripts and styles, read once from the package and served as they are."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"

CONTENT_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file that a browser may ask for."""

    body: bytes
    gzipped: bytes
    content_type: str

    def sha256(self) -> str:
        """Hex, of the file as it is in the package."""
        return hashlib.sha256(self.body).hexdigest()


@cache
def assets() -> Mapping[str, Asset]:
    """Path below /page/ → file. Nothing else on the disk can be asked for."""
    return {
        path.relative_to(STATIC).as_posix(): _read(path)
        for path in sorted(STATIC.rglob("*"))
        if path.is_file() and path.suffix in CONTENT_TYPES
    }


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, gzip.compress(body, 6, mtime=0), CONTENT_TYPES[path.suffix])
