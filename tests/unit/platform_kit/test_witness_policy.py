"""A platform that names witnesses follows no list that they have not signed."""

from pathlib import Path

import pytest

from unspread.case_protocol import to_b64
from unspread.crypto import SigningKey
from unspread.errors import InputError
from unspread.platform_kit.enrolment import Membership
from unspread.platform_kit.sync import policy_of
from unspread.testing.feed import TrialLog
from unspread.transparency.note import Note, NoteSigner
from unspread.transparency.policy import WitnessQuorumError

WITNESS = NoteSigner("other.example/witness", SigningKey(bytes(32)), cosigns=True)


def membership_in(log: TrialLog) -> Membership:
    return Membership(
        clearinghouse="http://127.0.0.1:1",
        invitation_digest="",
        partner_id="board",
        log_origin=log.origin,
        log_key=to_b64(log.log_key.public),
        feed="http://127.0.0.1:1",
        push="http://127.0.0.1:1/feed/push",
        signing_seed=to_b64(bytes(32)),
        opening_secret=to_b64(bytes(32)),
    )


def policy_file(directory: Path, log: TrialLog) -> Path:
    file = directory / "policy"
    file.write_text(
        f"log {log.policy.log_key.to_text()}\nwitness w {WITNESS.key.to_text()}\nquorum w\n"
    )
    return file


def test_the_witnesses_of_the_policy_file_must_have_signed(tmp_path: Path) -> None:
    log = TrialLog(0)
    log.publish()
    note = Note.from_bytes(log.public.get("log/checkpoint"))
    assert policy_of(membership_in(log), None).verify(note).size == 0
    policy = policy_of(membership_in(log), policy_file(tmp_path, log))
    with pytest.raises(WitnessQuorumError):
        policy.verify(note)
    cosigned = Note(note.text, (*note.signatures, WITNESS.sign(note.text, log.now)))
    assert policy.verify(cosigned).size == 0


def test_a_policy_for_another_key_of_the_log_is_refused(tmp_path: Path) -> None:
    log, other = TrialLog(0), TrialLog(1)
    with pytest.raises(InputError):
        policy_of(membership_in(log), policy_file(tmp_path, other))
