from datetime import UTC, datetime

import pytest

from unspread.errors import InputError, MalformedFingerprintError
from unspread.model import (
    Feedback,
    FeedbackKind,
    Fingerprint,
    Kind,
    ListingId,
    Media,
    MediaFingerprint,
    Part,
    Reason,
    one_bits,
)

PDQ = bytes(range(32))


def test_a_fingerprint_has_one_spelling():
    fingerprint = Fingerprint(Kind.PDQ, PDQ, quality=100)
    assert Fingerprint.from_text(fingerprint.to_text(), quality=100) == fingerprint
    assert PDQ.hex() not in repr(fingerprint)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("pdq:" + PDQ.hex().upper(), id="capitals"),
        pytest.param("pdq: " + PDQ.hex(), id="a space"),
        pytest.param("pdq:" + PDQ.hex()[2:], id="one byte short"),
        pytest.param("pdq:" + PDQ.hex() + "00", id="one byte long"),
        pytest.param("sha1:" + PDQ.hex(), id="unknown kind"),
        pytest.param(PDQ.hex(), id="no kind"),
        pytest.param("", id="nothing"),
    ],
)
def test_any_other_spelling_is_refused(text):
    with pytest.raises(MalformedFingerprintError):
        Fingerprint.from_text(text, quality=100)


@pytest.mark.parametrize(
    ("kind", "value", "part", "quality"),
    [
        pytest.param(Kind.PDQ, PDQ, Part.WHOLE, None, id="a pdq without quality"),
        pytest.param(Kind.PDQ, PDQ, Part.WHOLE, 101, id="quality above 100"),
        pytest.param(Kind.SHA256, PDQ, Part.WHOLE, 3, id="a digest with quality"),
        pytest.param(Kind.MD5, PDQ[:16], Part.FRAME, None, id="a digest of a frame"),
    ],
)
def test_what_cannot_be_is_refused(kind, value, part, quality):
    with pytest.raises(MalformedFingerprintError):
        Fingerprint(kind, value, part, quality)


def test_the_whole_comes_before_its_parts():
    window = Fingerprint(Kind.PDQ, PDQ, Part.WINDOW, 100)
    whole = Fingerprint(Kind.PDQ, PDQ[::-1], Part.WHOLE, 100)
    assert MediaFingerprint(Media.IMAGE, (window, whole)).first(Kind.PDQ) == whole
    assert MediaFingerprint(Media.IMAGE, (window,)).first(Kind.PDQ) == window
    assert MediaFingerprint(Media.IMAGE, (window,)).first(Kind.MD5) is None


def test_a_reason_goes_with_keeping_and_disputing_alone():
    now = datetime(2026, 11, 23, tzinfo=UTC)
    Feedback(ListingId(1), FeedbackKind.KEPT, now, reason=Reason.OTHER)
    with pytest.raises(InputError):
        Feedback(ListingId(1), FeedbackKind.KEPT, now)
    with pytest.raises(InputError):
        Feedback(ListingId(1), FeedbackKind.FOUND, now, reason=Reason.OTHER)
    with pytest.raises(InputError):
        Feedback(ListingId(1), FeedbackKind.FOUND, now, count=0)


def test_one_bits_are_counted():
    assert one_bits([b"\x00" * 32, b"\xff" * 32, b"\x0f" * 32]) == [0, 256, 128]
