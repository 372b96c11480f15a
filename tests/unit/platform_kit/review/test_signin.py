"""Nobody gets in without an invitation first and a passkey ever after."""

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.platform_kit.outbox import Outbox
from tests.unit.platform_kit.review.authenticator import Authenticator
from unspread.errors import InputError
from unspread.platform_kit.review.signin import (
    CHALLENGE_LASTS,
    IDLE,
    INVITATION_LASTS,
    LONGEST,
    Role,
    SignIn,
    SignInError,
)

ORIGIN = "http://localhost:8080"


@pytest.fixture
def sign_in(outbox: Outbox) -> SignIn:
    return SignIn(outbox.store, ORIGIN, outbox.clock)


def joined(sign_in: SignIn, name: str = "Ann", role: Role = Role.LEAD) -> Authenticator:
    device = Authenticator(ORIGIN)
    invitation = sign_in.invite(name, role)
    sign_in.register(invitation, device.make(sign_in.registration(invitation)))
    return device


def test_an_invitation_makes_one_passkey_and_a_session(sign_in: SignIn) -> None:
    device, invitation = Authenticator(ORIGIN), sign_in.invite("Ann", Role.LEAD)
    session = sign_in.register(invitation, device.make(sign_in.registration(invitation)))
    assert (sign_in.who(session).name, sign_in.who(session).role) == ("Ann", Role.LEAD)
    with pytest.raises(SignInError):
        sign_in.registration(invitation)


def test_a_passkey_signs_in_again_and_again(sign_in: SignIn) -> None:
    device = joined(sign_in)
    sessions = {sign_in.authenticate(device.use(sign_in.authentication())) for _ in range(2)}
    assert [sign_in.who(session).name for session in sessions] == ["Ann", "Ann"]


def test_the_first_invitation_is_in_a_file_for_the_operator_until_somebody_joined(
    sign_in: SignIn, tmp_path: Path
) -> None:
    path = sign_in.first_invitation(tmp_path)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert sign_in.first_invitation(tmp_path) == path
    invitation = path.read_text().strip()
    device = Authenticator(ORIGIN)
    session = sign_in.register(invitation, device.make(sign_in.registration(invitation)))
    assert sign_in.who(session).role is Role.LEAD
    assert sign_in.first_invitation(tmp_path) is None
    assert not path.exists()


def test_a_first_invitation_that_ran_out_is_made_anew(
    sign_in: SignIn, outbox: Outbox, tmp_path: Path
) -> None:
    path = sign_in.first_invitation(tmp_path)
    assert path is not None
    before = path.read_text()
    outbox.pass_time(days=INVITATION_LASTS.days + 1)
    sign_in.first_invitation(tmp_path)
    assert path.read_text() != before


def other_origin(_sign_in: SignIn) -> Authenticator:
    return Authenticator("https://localhost.example")


def without_verification(_sign_in: SignIn) -> Authenticator:
    return Authenticator(ORIGIN, verifies_user=False)


@pytest.mark.parametrize("device", [other_origin, without_verification])
def test_a_passkey_of_another_site_or_without_its_owner_is_refused(
    sign_in: SignIn, device: Callable[[SignIn], Authenticator]
) -> None:
    invitation = sign_in.invite("Ann", Role.LEAD)
    with pytest.raises(SignInError):
        sign_in.register(invitation, device(sign_in).make(sign_in.registration(invitation)))
    assert sign_in.reviewers() == []


def changed(credential: dict[str, Any], part: str, value: object) -> dict[str, Any]:
    made = copy.deepcopy(credential)
    if part in made["response"]:
        made["response"][part] = value
    else:
        made[part] = value
    return made


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("signature", "AAAA"),
        ("authenticatorData", "AAAA"),
        ("clientDataJSON", "AAAA"),
        ("clientDataJSON", None),
        ("rawId", "AAAA"),
        ("rawId", "é"),
        ("id", "another"),
        ("response", None),
        ("response", []),
    ],
)
def test_a_passkey_that_was_changed_on_its_way_is_refused(
    sign_in: SignIn, part: str, value: object
) -> None:
    device = joined(sign_in)
    credential = device.use(sign_in.authentication())
    with pytest.raises(SignInError):
        sign_in.authenticate(changed(credential, part, value))


def test_a_strangers_passkey_is_refused(sign_in: SignIn) -> None:
    joined(sign_in)
    with pytest.raises(SignInError):
        sign_in.authenticate(Authenticator(ORIGIN).use(sign_in.authentication()))


def test_an_answer_serves_once_and_not_for_long(sign_in: SignIn, outbox: Outbox) -> None:
    device = joined(sign_in)
    credential = device.use(sign_in.authentication())
    sign_in.authenticate(credential)
    with pytest.raises(SignInError):
        sign_in.authenticate(credential)
    late = device.use(sign_in.authentication())
    outbox.now += CHALLENGE_LASTS + timedelta(seconds=1)
    with pytest.raises(SignInError):
        sign_in.authenticate(late)


def test_an_answer_to_one_question_is_none_to_the_other(sign_in: SignIn) -> None:
    device = joined(sign_in)
    invitation = sign_in.invite("Bob", Role.REVIEWER)
    options = sign_in.registration(invitation)
    with pytest.raises(SignInError):
        sign_in.authenticate(device.use({**options, "rpId": "localhost"}))


def test_a_session_ends_when_it_is_not_used(sign_in: SignIn, outbox: Outbox) -> None:
    session = sign_in.authenticate(joined(sign_in).use(sign_in.authentication()))
    outbox.now += IDLE + timedelta(seconds=1)
    with pytest.raises(SignInError):
        sign_in.who(session)


def test_a_session_ends_after_a_day_of_work_however_it_is_used(
    sign_in: SignIn, outbox: Outbox
) -> None:
    session = sign_in.authenticate(joined(sign_in).use(sign_in.authentication()))
    until = outbox.now + LONGEST
    while outbox.now + IDLE <= until:
        outbox.now += IDLE
        sign_in.who(session)
    outbox.now = until + timedelta(seconds=1)
    with pytest.raises(SignInError):
        sign_in.who(session)


def test_signing_out_and_closing_an_account_end_sessions_at_once(sign_in: SignIn) -> None:
    ann = joined(sign_in)
    bob = joined(sign_in, "Bob", Role.REVIEWER)
    sessions = [sign_in.authenticate(each.use(sign_in.authentication())) for each in (ann, bob)]
    sign_in.sign_out(sessions[0])
    sign_in.close(sign_in.who(sessions[1]).reviewer, "Ann")
    for session in sessions:
        with pytest.raises(SignInError):
            sign_in.who(session)
    with pytest.raises(SignInError):
        sign_in.authenticate(bob.use(sign_in.authentication()))
    assert [each.name for each in sign_in.reviewers()] == ["Ann"]


def test_the_last_lead_cannot_be_locked_out(sign_in: SignIn) -> None:
    joined(sign_in)
    with pytest.raises(InputError):
        sign_in.close(sign_in.reviewers()[0].reviewer, "Ann")


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\nb", "Ann"])
def test_a_name_that_is_none_or_taken_is_refused(sign_in: SignIn, name: str) -> None:
    joined(sign_in)
    with pytest.raises(InputError):
        sign_in.invite(name, Role.REVIEWER)


@pytest.mark.parametrize("text", ["", "guess", "é" * 40])
def test_a_guessed_session_or_invitation_opens_nothing(sign_in: SignIn, text: str) -> None:
    joined(sign_in)
    with pytest.raises(SignInError):
        sign_in.who(text)
    with pytest.raises(SignInError):
        sign_in.registration(text)
