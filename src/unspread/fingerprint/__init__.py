"""Media in, fingerprints out: exact where they are submitted, fast where they are scanned.

The rules stand in docs/protocol/fingerprints.md; `vectors/` judges Python and the browser alike.
The names below are loaded when they are first used: a server that decodes in confined workers
never loads a decoder itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from unspread.fingerprint.media import fingerprint_file, fingerprint_image
    from unspread.fingerprint.result import MediaScan, Sampling
    from unspread.fingerprint.scan import scan_media

__all__ = ["MediaScan", "Sampling", "fingerprint_file", "fingerprint_image", "scan_media"]

_MODULES: Final = {
    "MediaScan": "result",
    "Sampling": "result",
    "fingerprint_file": "media",
    "fingerprint_image": "media",
    "scan_media": "scan",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
