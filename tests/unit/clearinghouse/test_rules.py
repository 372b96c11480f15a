"""What may be listed, how far it is believed, when it ends: tables of cases."""

from dataclasses import replace
from datetime import date

import pytest

from unspread.clearinghouse.rules import (
    OLDER_BY_DAYS,
    VIRAL_ACCOUNTS,
    HeldReason,
    MalformedCaseError,
    Said,
    Standing,
    SuspendedBecause,
    assess,
    expiry_day,
    from_day,
    renewed_expiry_day,
    standing,
    state_after,
    to_day,
)
from unspread.model import FeedbackKind, Fingerprint, Kind, Level, Part, State

from .conftest import pdq

TODAY = to_day(date(2026, 11, 23))


def nothing_known(_value: bytes) -> HeldReason | None:
    return None


def with_ones(count: int, start: int = 0) -> bytes:
    return (((1 << count) - 1) << start).to_bytes(32, "big")


def whole(value: bytes, quality: int = 100) -> Fingerprint:
    return Fingerprint(Kind.PDQ, value, quality=quality)


def frame(value: bytes, quality: int = 100) -> Fingerprint:
    return Fingerprint(Kind.PDQ, value, Part.FRAME, quality)


def flipped(value: bytes, bits: int) -> bytes:
    """`value` with `bits` bits changed, as many set as cleared as can be."""
    number = int.from_bytes(value, "big")
    ones = [at for at in range(256) if number >> at & 1]
    zeros = [at for at in range(256) if not number >> at & 1]
    for at in ones[: (bits + 1) // 2] + zeros[: bits // 2]:
        number ^= 1 << at
    return number.to_bytes(32, "big")


SHA = Fingerprint(Kind.SHA256, b"\x01" * 32)


@pytest.mark.parametrize(
    ("fingerprints", "reasons"),
    [
        pytest.param([whole(pdq(1))], (), id="a good picture"),
        pytest.param([whole(pdq(1), 50), SHA], (), id="quality just enough"),
        pytest.param([whole(pdq(1), 49), SHA], ("low_quality",), id="quality one too low"),
        pytest.param([whole(pdq(1), 0)], ("blank",), id="no gradient at all"),
        pytest.param([whole(with_ones(120))], (), id="as few ones as ties can make"),
        pytest.param([whole(with_ones(119))], ("one_bits_out_of_range",), id="one too few"),
        pytest.param([whole(with_ones(128))], (), id="exactly half"),
        pytest.param([whole(with_ones(129))], ("one_bits_out_of_range",), id="one too many"),
        pytest.param([SHA], (), id="digests alone: the device could not decode it"),
        pytest.param([frame(pdq(1), 10), frame(pdq(2))], (), id="a dark frame among good ones"),
        pytest.param([frame(pdq(1), 10), SHA], ("low_quality",), id="a film of dark frames"),
    ],
)
def test_an_item_is_held_for_these_reasons(
    fingerprints: list[Fingerprint], reasons: tuple[str, ...]
) -> None:
    (assessed,) = assess([fingerprints], nothing_known)
    assert assessed.reasons == reasons
    assert (assessed.state, assessed.level) == (
        (State.HELD, Level.QUARANTINED) if reasons else (State.LISTED, Level.UNVERIFIED)
    )


def test_what_everybody_knows_is_held_and_the_person_is_told() -> None:
    (assessed,) = assess([[whole(pdq(1))]], lambda _value: HeldReason.WELL_KNOWN)
    assert assessed.reasons == (HeldReason.WELL_KNOWN,)


@pytest.mark.parametrize(("bits", "is_duplicate"), [(0, True), (31, True), (32, False)])
def test_the_second_of_two_like_pictures_is_held(bits: int, *, is_duplicate: bool) -> None:
    first, second = assess([[whole(pdq(1))], [whole(flipped(pdq(1), bits))]], nothing_known)
    assert first.state is State.LISTED
    assert (second.reasons == (HeldReason.DUPLICATE,)) is is_duplicate


def test_a_copy_of_a_held_picture_is_held_for_its_own_reason() -> None:
    _, second = assess([[whole(pdq(1), 10)], [whole(pdq(1), 10)]], nothing_known)
    assert second.reasons == (HeldReason.LOW_QUALITY,)


@pytest.mark.parametrize(("bits", "kept"), [(16, 1), (17, 2)])
def test_neighbouring_frames_are_collapsed(bits: int, kept: int) -> None:
    (assessed,) = assess([[frame(pdq(1)), frame(flipped(pdq(1), bits))]], nothing_known)
    assert len(assessed.fingerprints) == kept


def test_an_item_without_fingerprints_is_refused() -> None:
    with pytest.raises(MalformedCaseError):
        assess([[]], nothing_known)


def said(partner: str, kind: FeedbackKind, **more: object) -> Said:
    return Said(partner, kind, **more)  # type: ignore[arg-type]


FOUND, REMOVED, BLOCKED = FeedbackKind.FOUND, FeedbackKind.REMOVED, FeedbackKind.BLOCKED
KEPT, DISPUTED = FeedbackKind.KEPT, FeedbackKind.DISPUTED


@pytest.mark.parametrize(
    ("words", "level", "suspended"),
    [
        pytest.param([], "unverified", None, id="nobody spoke"),
        pytest.param([("a", FOUND)], "unverified", None, id="found confirms nothing"),
        pytest.param([("a", BLOCKED)], "unverified", None, id="blocked confirms nothing"),
        pytest.param([("a", KEPT), ("b", KEPT)], "unverified", None, id="kept disputes nothing"),
        pytest.param([("a", REMOVED)], "confirmed", None, id="one platform agrees"),
        pytest.param([("a", REMOVED)] * 5, "confirmed", None, id="one platform, often"),
        pytest.param([("a", REMOVED), ("b", REMOVED)], "corroborated", None, id="two agree"),
        pytest.param([("a", DISPUTED)], "disputed", None, id="one disputes"),
        pytest.param([("a", DISPUTED)] * 5, "disputed", None, id="one disputes, often"),
        pytest.param(
            [("a", DISPUTED), ("b", DISPUTED)], "disputed", "two_disputes", id="two dispute"
        ),
        pytest.param([("a", REMOVED), ("b", DISPUTED)], "disputed", None, id="one each"),
        pytest.param(
            [("a", REMOVED), ("b", REMOVED), ("c", DISPUTED)], "corroborated", None, id="two to one"
        ),
        pytest.param(
            [("a", REMOVED), ("b", REMOVED), ("c", DISPUTED), ("d", DISPUTED)],
            "disputed",
            "two_disputes",
            id="two dispute what two confirmed",
        ),
        pytest.param([("a", DISPUTED), ("a", REMOVED)], "confirmed", None, id="changed its mind"),
        pytest.param([("a", REMOVED), ("a", DISPUTED)], "disputed", None, id="and the other way"),
    ],
)
def test_levels(words: list[tuple[str, FeedbackKind]], level: str, suspended: str | None) -> None:
    judged = standing([said(*each) for each in words], submitted_day=TODAY)
    assert (judged.level, judged.suspended) == (level, suspended)


HALF = VIRAL_ACCOUNTS // 2
VIRAL, OLDER = SuspendedBecause.VIRAL, SuspendedBecause.OLDER
LONG_AGO = TODAY - OLDER_BY_DAYS - 1


@pytest.mark.parametrize(
    ("words", "suspended"),
    [
        pytest.param(
            [said("a", FOUND, accounts=HALF), said("b", FOUND, accounts=HALF)],
            VIRAL,
            id="very many accounts on two platforms",
        ),
        pytest.param(
            [said("a", FOUND, accounts=HALF), said("b", FOUND, accounts=HALF - 1)],
            None,
            id="one account too few",
        ),
        pytest.param(
            [said(name, BLOCKED, accounts=HALF - 1) for name in "abc"],
            VIRAL,
            id="many accounts try on three",
        ),
        pytest.param([said("a", FOUND, accounts=10**9)], None, id="a platform never does it alone"),
        pytest.param(
            [said("a", FOUND, accounts=10**9), said("b", FOUND, accounts=1)],
            None,
            id="nor with hardly anybody else",
        ),
        pytest.param(
            [said("a", BLOCKED, accounts=at) for at in range(HALF)]
            + [said("b", BLOCKED, accounts=at) for at in range(HALF)],
            None,
            id="what is said again with one more is not added up",
        ),
        pytest.param(
            [said("a", BLOCKED, count=10**6), said("b", BLOCKED, count=10**6)],
            None,
            id="an abuser who tries without end does not end the protection",
        ),
        pytest.param(
            [said("a", BLOCKED, count=10**6, accounts=3), said("b", FOUND, count=HALF)],
            None,
            id="three accounts that try without end",
        ),
        pytest.param(
            [
                *(said("a", FOUND, count=each) for each in (HALF - 9, 9)),
                said("b", FOUND, count=HALF),
            ],
            VIRAL,
            id="posted copies, where accounts are not said",
        ),
        pytest.param(
            [said("a", FOUND, count=10**6, accounts=2), said("b", FOUND, count=HALF)],
            None,
            id="copies do not count where accounts are said",
        ),
        pytest.param([said("a", FOUND, oldest_day=LONG_AGO)], OLDER, id="one old copy"),
        pytest.param([said("a", BLOCKED, oldest_day=LONG_AGO)], OLDER, id="an old copy, refused"),
        pytest.param([said("a", FOUND, oldest_day=LONG_AGO + 1)], None, id="a day younger"),
        pytest.param([said("a", FOUND, oldest_day=TODAY + 1)], None, id="younger than the case"),
        pytest.param([said("a", FOUND, accounts=99)], None, id="age not said"),
        pytest.param(
            [said("a", FOUND, oldest_day=LONG_AGO), said("b", DISPUTED)],
            OLDER,
            id="an old copy, and one disputes",
        ),
    ],
)
def test_what_looks_famous_is_suspended_until_somebody_looks(
    words: list[Said], suspended: SuspendedBecause | None
) -> None:
    judged = standing(words, submitted_day=TODAY)
    assert (judged.suspended, judged.asked) == (suspended, None)


OLD = said("a", FOUND, oldest_day=LONG_AGO)
SPREAD = [said(name, FOUND, accounts=HALF) for name in "ab"]


@pytest.mark.parametrize(
    ("words", "more", "level", "asked"),
    [
        pytest.param([OLD, said("b", REMOVED)], {}, "confirmed", OLDER, id="another removed it"),
        pytest.param([said("b", REMOVED), OLD], {}, "confirmed", OLDER, id="in the other order"),
        pytest.param([OLD, said("a", REMOVED)], {}, "confirmed", OLDER, id="the same removed it"),
        pytest.param(
            [said("a", REMOVED, oldest_day=LONG_AGO)],
            {},
            "confirmed",
            OLDER,
            id="the very report that confirms tells the age",
        ),
        pytest.param(
            [OLD, said("b", REMOVED), said("c", DISPUTED)],
            {},
            "disputed",
            OLDER,
            id="one removed it, one disputes",
        ),
        pytest.param([OLD], {"vouched": True}, "corroborated", OLDER, id="a helpline vouches"),
        pytest.param([OLD], {"upheld": True}, "unverified", OLDER, id="staff upheld it"),
        pytest.param(
            [*SPREAD, said("b", REMOVED)], {}, "confirmed", VIRAL, id="very many, and one removed"
        ),
        pytest.param(SPREAD, {"upheld": True}, "unverified", VIRAL, id="very many, and upheld"),
        pytest.param(
            [replace(OLD, is_answered=True), *(replace(each, is_answered=True) for each in SPREAD)],
            {"upheld": True},
            "unverified",
            None,
            id="what was said before staff upheld it asks nothing again",
        ),
        pytest.param(
            [replace(said("a", REMOVED), is_answered=True)],
            {"upheld": True},
            "confirmed",
            None,
            id="and still counts for the level",
        ),
        pytest.param([said("b", REMOVED)], {}, "confirmed", None, id="neither old nor spread"),
    ],
)
def test_what_somebody_stands_by_goes_on_matching_and_a_review_is_asked_for(
    words: list[Said], more: dict[str, bool], level: str, asked: SuspendedBecause | None
) -> None:
    judged = standing(words, submitted_day=TODAY, **more)
    assert (judged.level, judged.suspended, judged.asked) == (level, None, asked)


def test_two_disputes_suspend_whatever_was_upheld() -> None:
    words = [said("a", DISPUTED), said("b", DISPUTED)]
    judged = standing(words, submitted_day=TODAY, vouched=True, upheld=True)
    assert judged.suspended is SuspendedBecause.DISPUTES


def test_a_helplines_word_corroborates() -> None:
    assert standing([], submitted_day=TODAY, vouched=True).level is Level.CORROBORATED


UNSEEN = standing([], submitted_day=TODAY)
REMOVED_ONCE = standing([said("a", REMOVED)], submitted_day=TODAY)
DISPUTED_TWICE = standing([said("a", DISPUTED), said("b", DISPUTED)], submitted_day=TODAY)
LOOKS_OLD = standing([OLD], submitted_day=TODAY)
LISTED, SUSPENDED = State.LISTED, State.SUSPENDED


@pytest.mark.parametrize(
    ("state", "because", "judged", "after"),
    [
        pytest.param(LISTED, "", LOOKS_OLD, (SUSPENDED, OLDER), id="looks famous"),
        pytest.param(LISTED, "", DISPUTED_TWICE, (SUSPENDED, "two_disputes"), id="two dispute"),
        pytest.param(LISTED, "", UNSEEN, (LISTED, ""), id="nothing to be seen"),
        pytest.param(SUSPENDED, OLDER, LOOKS_OLD, (SUSPENDED, OLDER), id="still nobody looked"),
        pytest.param(SUSPENDED, OLDER, UNSEEN, (SUSPENDED, OLDER), id="who said so is gone"),
        pytest.param(SUSPENDED, OLDER, REMOVED_ONCE, (LISTED, ""), id="old: somebody looked"),
        pytest.param(SUSPENDED, VIRAL, REMOVED_ONCE, (LISTED, ""), id="many: somebody looked"),
        pytest.param(
            SUSPENDED, OLDER, DISPUTED_TWICE, (SUSPENDED, "two_disputes"), id="old, then disputed"
        ),
        pytest.param(
            SUSPENDED,
            "two_disputes",
            REMOVED_ONCE,
            (SUSPENDED, "two_disputes"),
            id="staff alone settle disputes",
        ),
        pytest.param(
            SUSPENDED, "incident 7", REMOVED_ONCE, (SUSPENDED, "incident 7"), id="and incidents"
        ),
        *(
            pytest.param(state, "", LOOKS_OLD, (state, ""), id=f"not what is {state}")
            for state in State
            if state not in {LISTED, SUSPENDED}
        ),
    ],
)
def test_what_becomes_of_the_state(
    state: State, because: str, judged: Standing, after: tuple[State, str]
) -> None:
    assert state_after(state, because, judged) == after


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (date(2026, 11, 23), date(2028, 11, 23)),
        (date(2028, 2, 29), date(2030, 2, 28)),
        (date(1970, 1, 1), date(1972, 1, 1)),
    ],
)
def test_a_case_ends_two_years_on(start: date, end: date) -> None:
    assert from_day(expiry_day(to_day(start))) == end


@pytest.mark.parametrize(
    ("today", "ends"),
    [
        pytest.param(date(2026, 12, 1), date(2028, 11, 23), id="too early changes nothing"),
        pytest.param(date(2028, 8, 24), date(2028, 11, 23), id="a day too early"),
        pytest.param(date(2028, 8, 25), date(2030, 8, 25), id="in the last 90 days"),
        pytest.param(date(2028, 11, 23), date(2030, 11, 23), id="on the last day"),
    ],
)
def test_renewal(today: date, ends: date) -> None:
    assert from_day(renewed_expiry_day(expiry_day(TODAY), to_day(today))) == ends
