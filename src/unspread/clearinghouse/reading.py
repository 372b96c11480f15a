"""What is read for people: the status of a case, as far as platforms have told."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from unspread.case_protocol import CaseStatus, ItemStatus, PlatformStatus, to_b64
from unspread.clearinghouse.database import Connection, Row
from unspread.clearinghouse.rules import from_day
from unspread.clearinghouse.store import StoredItem, UnknownCaseError, items_of
from unspread.model import Age, FeedbackKind, Reason, State


def _time(second: int | None) -> datetime | None:
    return datetime.fromtimestamp(second, UTC) if second else None


def case_status(connection: Connection, case_key: bytes) -> CaseStatus:
    """Where a case stands, per item and platform.

    Raises:
        UnknownCaseError: if there is none.
    """
    rows = connection.rows(
        "SELECT submitted_day, expires_day, age FROM case_record WHERE case_key = ?", case_key
    )
    if not rows:
        raise UnknownCaseError(
            "no case opens with this: check the receipt, and that it is from this clearinghouse"
        )
    submitted_day, expires_day, age = rows[0]
    platforms = connection.rows(
        "SELECT partner_id, name FROM partner WHERE role = 'platform' AND (state = 'active' OR"
        " (state = 'suspended' AND last_heard_at > 0)) ORDER BY name, partner_id"
    )
    return CaseStatus(
        submitted_on=from_day(submitted_day),
        expires_on=from_day(expires_day),
        age=Age(age),
        items=[_item(connection, item, platforms) for item in items_of(connection, case_key)],
    )


def _item(connection: Connection, item: StoredItem, platforms: Sequence[Row]) -> ItemStatus:
    return ItemStatus(
        item_key=to_b64(item.item_key),
        media=item.media,
        state=item.state,
        level=item.level,
        reasons=[*item.reasons, *([item.suspended_because] if item.suspended_because else [])],
        listing_id=item.listing_id,
        commitment=item.commitment.hex(),
        platforms=[] if item.listing_id is None else _platforms(connection, item, platforms),
    )


def _acknowledged(connection: Connection, position: int) -> dict[str, int]:
    """When each partner's word first covered a position."""
    return dict(
        connection.rows(
            "SELECT partner_id, MIN(at) FROM acknowledgement WHERE size > ? GROUP BY partner_id",
            position,
        )
    )


def _platforms(
    connection: Connection, item: StoredItem, platforms: Sequence[Row]
) -> list[PlatformStatus]:
    listing_id = item.listing_id if item.listing_id is not None else -1
    received = _acknowledged(connection, listing_id)
    # The newest change of a withdrawn item is its withdrawal: nothing comes after it.
    gone = item.state in {State.WITHDRAWN, State.REMOVED, State.EXPIRED}
    forgotten = _acknowledged(connection, item.revision - 1) if gone else {}
    said: dict[str, dict[str, Any]] = {}
    for partner_id, kind, at, count, reason in connection.rows(
        "SELECT partner_id, kind, at, count, reason FROM feedback WHERE listing_id = ? ORDER BY id",
        listing_id,
    ):
        fields = said.setdefault(partner_id, {})
        fields[f"{kind}_at"] = _time(at)
        if kind == FeedbackKind.BLOCKED:
            fields["blocked_count"] = fields.get("blocked_count", 0) + count
        if kind in {FeedbackKind.KEPT, FeedbackKind.DISPUTED}:
            fields[f"{kind}_reason"] = Reason(reason)
    return [
        PlatformStatus(
            name=name,
            received_at=_time(received.get(partner_id)),
            forgotten_at=_time(forgotten.get(partner_id)),
            **said.get(partner_id, {}),
        )
        for partner_id, name in platforms
    ]
