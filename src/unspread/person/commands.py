"""`unspread submit`, `status` and `withdraw`: what the page does, from a command line.

For helplines that assist someone on their own machine, and for tests. A receipt is asked for, or
read from standard input, when it is not given: so it need not stand in a shell's history.
"""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
import msgspec

from unspread.case_protocol import CaseAccepted, CaseStatus, ItemStatus, PlatformStatus
from unspread.crypto import SECRET_BYTES, Receipt
from unspread.errors import InputError, StateError, TransportError
from unspread.fingerprint.confined import Decoder, patient_decoder
from unspread.model import Age, MediaFingerprint, State
from unspread.person.client import Clearinghouse
from unspread.person.log import PlaceInLog, Proof, place_in_log
from unspread.transparency.note import VerifierKey

_REASONS = {
    "low_quality": "too little detail to tell it from other pictures",
    "one_bits_out_of_range": "its fingerprint is not one that a picture gives",
    "well_known_content": "it looks like a well-known picture, logo or flag",
    "blank": "it is nearly blank",
    "duplicate_of_item": "it is the same picture as another item of this case",
    "different_content": "the content is a different one",
    "not_intimate": "the content is not intimate",
    "public_interest": "public interest",
    "lawful_order": "a lawful order",
    "other": "another reason",
}


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", "url", required=True, help="The clearinghouse's address.")
@click.option(
    "--age",
    type=click.Choice([each.value for each in Age]),
    default=Age.UNKNOWN.value,
    show_default=True,
    help="Was the person under 18 in it? minor, adult, or unknown.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def submit(files: tuple[Path, ...], url: str, age: str, as_json: bool) -> None:
    """Fingerprint FILES on this machine and put the fingerprints on a hash list.

    The files stay here. What is printed is the receipt: the only key to the case. Nobody can
    recover it. Do not post the picture yourself afterwards, not even to test.
    """
    with Clearinghouse(url) as clearinghouse:
        # Before the work on large files, so that a wrong address is known at once.
        about = clearinghouse.about()
        if len(files) > about.limits.items_per_case:
            raise InputError(f"at most {about.limits.items_per_case} files in one case")
        with patient_decoder() as decoder:
            media = [_fingerprinted(decoder, number, path) for number, path in enumerate(files, 1)]
        receipt = Receipt(os.urandom(SECRET_BYTES))
        accepted = clearinghouse.submit(receipt, media, Age(age))
    if as_json:
        result = {"receipt": receipt.to_text(), **msgspec.to_builtins(accepted)}
        click.echo(json.dumps(result))
        return
    if about.training:
        click.echo("TRAINING: this clearinghouse protects nobody; its list reaches no platform.\n")
    click.echo(f"Your receipt: {receipt.to_text()}\n")
    click.echo("Keep it: with it, and only with it, you can see what happens and withdraw.")
    _print_accepted(accepted)


@click.command()
@click.argument("receipt", required=False)
@click.option("--at", "url", required=True, help="The clearinghouse's address.")
@click.option(
    "--log-key",
    "log_key_text",
    help="The public log's key as you know it, name+id+base64; else the one in /v1/about.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(receipt: str | None, url: str, log_key_text: str | None, as_json: bool) -> None:
    """Say what became of each item of the case with this RECEIPT, as platforms report it.

    The proof that an item stands in the public log is checked on this machine. Ends with status 4
    if one does not hold.
    """
    with Clearinghouse(url) as clearinghouse:
        answer = clearinghouse.status(_receipt(receipt))
        if log_key_text is None:
            log_key = clearinghouse.announced_key()
        else:
            log_key = VerifierKey.from_text(log_key_text)
        places = [_place_in_log(clearinghouse, each, log_key) for each in answer.items]
    if as_json:
        result = msgspec.to_builtins(answer)
        for item, place in zip(result["items"], places, strict=True):
            item["log"] = msgspec.to_builtins(place)
        click.echo(json.dumps(result))
    else:
        _print_status(answer, places)
    if any(place is not None and place.proof is Proof.WRONG for place in places):
        sys.exit(4)


@click.command()
@click.argument("receipt", required=False)
@click.option("--at", "url", required=True, help="The clearinghouse's address.")
@click.option(
    "--item",
    "numbers",
    type=click.IntRange(min=1),
    multiple=True,
    help="Only this item, 1 for the first; may be repeated. All of them when left out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def withdraw(receipt: str | None, url: str, numbers: tuple[int, ...], as_json: bool) -> None:
    """Take the items of the case with this RECEIPT off the hash list. This is final."""
    opened = _receipt(receipt)
    with Clearinghouse(url) as clearinghouse:
        count = len(clearinghouse.status(opened).items)
        chosen = [each - 1 for each in numbers] or list(range(count))
        if max(chosen, default=0) >= count:
            raise InputError(f"the case has {count} items; choose from 1 to {count}")
        answer = clearinghouse.withdraw(opened, chosen)
    if as_json:
        click.echo(answer.to_json())
        return
    click.echo(f"Withdrawn: {len(answer.items)}. Platforms are told at once to forget it.")


def _fingerprinted(decoder: Decoder, number: int, path: Path) -> MediaFingerprint:
    try:
        return decoder.fingerprint(path)
    except InputError as error:
        raise type(error)(f"file {number}: {error}") from error


def _receipt(given: str | None) -> Receipt:
    if given is None:
        given = click.prompt("Receipt", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    # A note that the page saved has a title above.
    return Receipt.from_text(given.strip().rpartition("\n")[2])


def _print_accepted(accepted: CaseAccepted) -> None:
    for number, item in enumerate(accepted.items, 1):
        click.echo(f"  {number}. {_described(item.state, item.reasons)}")


def _described(state: State, reasons: list[str]) -> str:
    words = "; ".join(_REASONS.get(each, each) for each in reasons)
    return f"{state}: {words}" if words else str(state)


def _place_in_log(
    clearinghouse: Clearinghouse, item: ItemStatus, log_key: VerifierKey
) -> PlaceInLog | None:
    if item.listing_id is None:
        return None
    try:
        file = clearinghouse.entry_proof(item.listing_id)
    except (StateError, TransportError):
        # What else there is to read is worth reading without it.
        file = None
    return place_in_log(item.listing_id, item.commitment, file, log_key)


def _print_status(answer: CaseStatus, places: Sequence[PlaceInLog | None]) -> None:
    click.echo(f"Submitted on {answer.submitted_on}, kept until {answer.expires_on}.")
    for number, (item, place) in enumerate(zip(answer.items, places, strict=True), 1):
        click.echo(f"\n{number}. {item.media}, {_described(item.state, item.reasons)}")
        if place is not None:
            click.echo(f"   {_proven(place)}")
        _print_platforms(item)


def _proven(place: PlaceInLog) -> str:
    match place.proof:
        case Proof.HOLDS:
            return (
                f"Entry {place.index} of the public log, which has {place.entries}; "
                "its proof holds, checked on this machine"
            )
        case Proof.UNCHECKED:
            return f"Entry {place.index} of the public log; its proof could not be fetched now"
        case Proof.WRONG:
            return (
                f"WARNING: the proof that this is entry {place.index} of the public log does NOT "
                "hold. Tell somebody whom you trust, and keep the date and this text"
            )


def _print_platforms(item: ItemStatus) -> None:
    for platform in item.platforms:
        said = ", ".join(_said(platform))
        click.echo(f"   {platform.name} says: {said or 'nothing yet'}")


def _said(platform: PlatformStatus) -> list[str]:
    kept = _REASONS.get(platform.kept_reason or "", "no reason given")
    disputed = _REASONS.get(platform.disputed_reason or "", "no reason given")
    moments: list[tuple[str, datetime | None]] = [
        ("received", platform.received_at),
        ("found", platform.found_at),
        ("removed", platform.removed_at),
        (f"uploads refused ({platform.blocked_count})", platform.blocked_at),
        (f"kept ({kept})", platform.kept_at),
        (f"disputed ({disputed})", platform.disputed_at),
        ("forgotten", platform.forgotten_at),
    ]
    return [f"{word} {at:%Y-%m-%d %H:%M} UTC" for word, at in moments if at is not None]
