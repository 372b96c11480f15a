"""What a match means: pure rules from matches and settings to one decision."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from unspread.fingerprint.score import MATCH_SHARE, is_enough
from unspread.model import Fingerprint, Kind, Level, ListingId, Media, Part
from unspread.platform_kit.settings import ListSettings, Response
from unspread.platform_kit.store import ActionKind


class Decision(StrEnum):
    """What a scan concludes."""

    ACCEPT = "accept"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Match:
    """One listing within its list's radius of what was scanned."""

    list_name: str
    list_number: int
    listing_id: ListingId
    level: Level
    media: Media
    kind: Kind
    distance_bits: int
    """0 for digests, 0..radius for pdq."""
    variant: str = "original"
    """Which turn or trim of the upload matched."""
    at_seconds: float | None = None
    """Where in a video."""
    part: Part = Part.WHOLE
    """`window` if only a part of the upload, or of the listed picture, matched."""
    matched_frames: int = 1
    """Of a video that was scanned."""
    frames: int = 1
    """That were looked at."""
    is_varied: bool = True
    """Whether frames matched that are no copies of each other."""

    @property
    def is_partial(self) -> bool:
        """Whether it says only that a part is shared: a window, or few frames of a video.

        Or a title, which two videos may share by chance; a listed picture is none.
        """
        if self.media is Media.IMAGE:
            is_few = self.matched_frames < MATCH_SHARE * self.frames
        else:
            is_few = not is_enough(self.matched_frames, self.frames, is_varied=self.is_varied)
        return self.kind is Kind.PDQ and (self.part is Part.WINDOW or is_few)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The decision, the match that led to it, and the rule in words."""

    decision: Decision
    match: Match | None
    rule: str | None
    reason: str


_ORDER: Final = {Response.IGNORE: 0, Response.HOLD: 1, Response.REFUSE: 2}
_DECISIONS: Final = {
    Response.IGNORE: Decision.ACCEPT,
    Response.HOLD: Decision.HOLD,
    Response.REFUSE: Decision.REFUSE,
}
_REASONS: Final = {
    Decision.ACCEPT: "nothing that is listed",
    Decision.HOLD: "matches a protected picture or video; a person should look before it is shown",
    Decision.REFUSE: "matches a picture or video that somebody asked to be protected",
}


def response_to(match: Match, settings: ListSettings, *, flooded: bool = False) -> Response:
    """What the list's policy says about one match, without regard to other matches.

    Args:
        flooded: the listing matched more often than the list allows; then nothing is refused or
            taken down without a person.
    """
    if not settings.enabled or settings.shadow or settings.allow:
        return Response.IGNORE
    response = settings.actions.of(match.level)
    if match.is_partial and _ORDER[settings.partial] < _ORDER[response]:
        response = settings.partial
    return Response.HOLD if flooded and response is Response.REFUSE else response


def conclude(
    matches: Iterable[Match],
    lists: Mapping[str, ListSettings],
    *,
    draw: float,
    flooded: frozenset[tuple[int, int]] = frozenset(),
) -> Conclusion:
    """The strictest response of all lists decides; the nearest match with it is named.

    Args:
        lists: settings by name; every match's list is among them.
        draw: uniform in [0, 1), for lists that look at a part of uploads only.
        flooded: (list number, listing id) that matched too often.
    """
    best: tuple[tuple[int, bool, int], Match, ListSettings] | None = None
    allowed: Match | None = None
    for match in matches:
        settings = lists[match.list_name]
        if not settings.enabled or match.distance_bits > settings.radius_bits:
            continue
        if settings.allow:
            # Else whoever adds a frame or a corner of it could show anything beside.
            allowed = allowed if match.is_partial else match
            continue
        if draw >= settings.sampling:
            continue
        response = response_to(
            match, settings, flooded=(match.list_number, match.listing_id) in flooded
        )
        rank = (_ORDER[response], not match.is_partial, -match.distance_bits)
        if best is None or rank > best[0]:
            best = (rank, match, settings)
    if allowed is not None:
        rule = f"{allowed.list_name}: allowed, {allowed.distance_bits} bits"
        return Conclusion(Decision.ACCEPT, allowed, rule, "on a list of what is allowed here")
    if best is None:
        return Conclusion(Decision.ACCEPT, None, None, _REASONS[Decision.ACCEPT])
    rank, match, settings = best
    response = next(each for each, order in _ORDER.items() if order == rank[0])
    shadow = " (shadow)" if settings.shadow else ""
    part = " on a part" if match.is_partial else ""
    rule = (
        f"{match.list_name}{shadow}: {match.level} -> {response}{part},"
        f" {match.distance_bits} of {settings.radius_bits} bits"
    )
    decision = _DECISIONS[response]
    reason = "matches a listing that is not acted on" if decision is Decision.ACCEPT else ""
    return Conclusion(decision, match, rule, reason or _REASONS[decision])


def is_searched_for(fingerprint: Fingerprint, settings: ListSettings) -> bool:
    """Whether hosted content that is near it can match: the catalogue keeps no windows.

    Of two windows that have to match it could never show the second.
    """
    return fingerprint.part is not Part.WINDOW or settings.window_matches == 1


def action_for(response: Response) -> ActionKind | None:
    """What a response means for content that is already posted."""
    return {Response.IGNORE: None, Response.HOLD: ActionKind.HOLD}.get(response, ActionKind.REMOVE)
