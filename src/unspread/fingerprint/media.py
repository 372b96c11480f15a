"""One file to all of its fingerprints, exactly: what the person's side submits."""

from pathlib import Path

from unspread.errors import UnreadableMediaError
from unspread.fingerprint import pdq
from unspread.fingerprint.decode import decode
from unspread.fingerprint.digest import DIGEST_SHARE, Progress, digests, file_digests
from unspread.fingerprint.files import (
    HEAD_BYTES,
    STANDARD,
    Limits,
    Source,
    opened,
    read_picture,
    size_bytes,
    sniff,
)
from unspread.fingerprint.video import dense_fingerprints, open_film
from unspread.fingerprint.windows import window_fingerprints
from unspread.model import Media, MediaFingerprint


def fingerprint_image(source: Source | str, limits: Limits = STANDARD) -> MediaFingerprint:
    """PDQ of a picture and of windows of it by the canonical rule, SHA-256 and MD5.

    Raises:
        UnreadableMediaError: if it is not a whole picture within the limits.
    """
    with opened(Path(source) if isinstance(source, str) else source) as file:
        data = read_picture(file, limits)
    picture = decode(data, limits)
    return MediaFingerprint(
        media=Media.IMAGE,
        fingerprints=(
            pdq.fingerprint(picture.pixels, picture.orientation),
            *window_fingerprints(picture.orientation.upright(picture.pixels)),
            *digests(data),
        ),
        width=picture.width,
        height=picture.height,
    )


def fingerprint_file(
    source: Source | str, limits: Limits = STANDARD, progress: Progress = lambda _: None
) -> MediaFingerprint:
    """All fingerprints of a picture or a video; of a video every frame that looks different.

    Raises:
        UnreadableMediaError: if it is neither, is damaged, or is beyond the limits.
    """
    with opened(Path(source) if isinstance(source, str) else source) as file:
        kind = sniff(file.read(HEAD_BYTES))
        if not kind.is_video:
            return fingerprint_image(file, limits)
        if size_bytes(file) > limits.max_video_bytes:
            raise UnreadableMediaError("the file is too large for a video")
        of_file = file_digests(file, lambda done: progress(DIGEST_SHARE * done))
        with open_film(file, kind, limits) as film:
            dense = dense_fingerprints(
                film, lambda done: progress(DIGEST_SHARE + (1 - DIGEST_SHARE) * done)
            )
            height, width = film.size
            return MediaFingerprint(
                media=Media.VIDEO,
                fingerprints=(*dense.result(), *of_file),
                width=width,
                height=height,
                duration_seconds=film.duration_seconds or film.last_seconds,
                frames_seen=film.frames_seen,
                notes=("frames_capped",) if dense.is_capped else (),
            )
