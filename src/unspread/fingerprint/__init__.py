"""Media in, fingerprints out: exact where they are submitted, fast where they are scanned.

The rules stand in docs/protocol/fingerprints.md; `vectors/` judges Python and the browser alike.
"""

from unspread.fingerprint.media import fingerprint_file, fingerprint_image
from unspread.fingerprint.scan import MediaScan, Sampling, scan_media

__all__ = ["MediaScan", "Sampling", "fingerprint_file", "fingerprint_image", "scan_media"]
