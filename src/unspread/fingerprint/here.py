"""Files decoded in this process, where `unspread.fingerprint.confined` cannot: `Decoder`s both."""

from unspread.fingerprint.digest import Progress
from unspread.fingerprint.files import Source
from unspread.fingerprint.media import fingerprint_file
from unspread.fingerprint.result import MediaScan, Sampling
from unspread.fingerprint.scan import scan_media
from unspread.model import MediaFingerprint


def scan(source: Source, *, sampling: Sampling, progress: Progress = lambda _: None) -> MediaScan:
    """As `scan_media`."""
    return scan_media(source, sampling=sampling, progress=progress)


def fingerprint(source: Source, progress: Progress = lambda _: None) -> MediaFingerprint:
    """As `fingerprint_file`."""
    return fingerprint_file(source, progress=progress)
