"""What a clearinghouse is told of accounts and of days: counts and dates, and whose, never."""

from datetime import date

import pytest

from tests.unit.platform_kit.conftest import HOLDING, REFUSING, Platform
from tests.unit.platform_kit.test_following import altered, picture
from tests.unit.platform_kit.test_http import Caller
from unspread.model import FeedbackKind, Reason
from unspread.platform_kit.accounts import MAX_COUNTED, Accounts, rounded
from unspread.platform_kit.store import Verdict


def told(platform: Platform) -> list[tuple[str, int, date | None]]:
    platform.send_feedback()
    said = platform.clearinghouse.feedback.values()
    return [(each.kind, each.accounts, each.oldest_on) for each in said]


def post(call: Caller, path: str, reference: str, account: str = "", day: str = "") -> None:
    headers = {"unspread-account": account} if account else {}
    if day:
        headers["unspread-posted-on"] = day
    call.headers = {"authorization": call.headers["authorization"], **headers}
    call("POST", path, params={"reference": reference}, content=altered(1))


def test_accounts_that_try_are_counted_once_each(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    call = Caller(platform)
    for number, account in enumerate(["ann", "bob", "ann", "", "cleo"]):
        post(call, "/scan", f"post/{number}", account)
    assert told(platform) == [("blocked", 2, None)]  # three, rounded
    everything = b"".join(path.read_bytes() for path in platform.data.rglob("*") if path.is_file())
    assert b"cleo" not in everything


def test_the_day_of_the_oldest_copy_is_told(tmp_path, clearinghouse):
    platform = Platform(tmp_path, clearinghouse, {"unspread": REFUSING})
    call = Caller(platform)
    for number, (account, day) in enumerate(
        [("ann", "2021-05-31"), ("bob", "2019-02-01"), ("bob", "2023-01-01")]
    ):
        post(call, "/catalogue", f"post/{number}", account, day)
    clearinghouse.protect(picture(1))
    platform.sync()
    assert told(platform) == [("found", 2, date(2019, 2, 1))]
    platform.close()


@pytest.mark.parametrize("verdict", [Verdict.REMOVE, Verdict.DISPUTE])
def test_where_a_person_decides_the_age_is_told_with_their_word(tmp_path, clearinghouse, verdict):
    platform = Platform(tmp_path, clearinghouse, {"unspread": HOLDING})
    post(Caller(platform), "/catalogue", "post/1", "ann", "2019-02-01")
    clearinghouse.protect(picture(1))
    platform.sync()
    assert told(platform) == [("found", 1, None)]
    platform.carry_out()
    reason = Reason.NOT_INTIMATE if verdict is Verdict.DISPUTE else None
    store = platform.kit.store
    (held,) = store.held()
    store.write(
        lambda c: store.record_review(c, held.action_id, verdict, reason, "Ann", platform.now())
    )
    platform.carry_out()
    kind = FeedbackKind.REMOVED if verdict is Verdict.REMOVE else FeedbackKind.DISPUTED
    assert told(platform)[1:] == [(kind, 0, date(2019, 2, 1))]
    platform.close()


def test_what_is_gone_is_forgotten_with_who_posted_it(platform, clearinghouse):
    call = Caller(platform)
    post(call, "/catalogue", "post/1", "ann", "2019-02-01")
    listing = clearinghouse.protect(picture(1))
    platform.sync()
    call("POST", "/catalogue/forget", json={"references": ["post/1"]})
    rows = lambda table: platform.kit.store.read(  # noqa: E731
        lambda c: c.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
    )
    assert (rows("postings"), rows("posters"), rows("oldest_copies")) == (0, 1, 1)
    clearinghouse.take_back(listing)
    platform.sync()
    assert (rows("posters"), rows("oldest_copies")) == (0, 0)


@pytest.mark.parametrize(
    ("account", "day"),
    [("x" * 257, ""), ("", "31.5.2021"), ("", "2021-02-30"), ("", "yesterday")],
)
def test_malformed_postings_are_refused_and_nothing_is_remembered(
    platform, clearinghouse, account, day
):
    clearinghouse.protect(picture(1))
    platform.sync()
    call = Caller(platform)
    call.headers |= {"unspread-account": account, "unspread-posted-on": day}
    answer = call("POST", "/catalogue", params={"reference": "post/1"}, content=altered(1))
    assert answer.status_code == 400
    assert len(platform.kit.catalogue) == 0


def test_no_listing_keeps_more_accounts_than_are_counted(platform, clearinghouse):
    clearinghouse.protect(picture(1))
    platform.sync()
    for number in range(MAX_COUNTED + 5):
        platform.kit.store.count_blocked([(0, 0)], f"account {number}")
    count = platform.kit.store.read(lambda c: c.execute("SELECT count(*) FROM posters").fetchone())
    assert count[0] == MAX_COUNTED


def test_a_number_is_the_same_after_a_restart_and_another_elsewhere(tmp_path):
    (tmp_path / "other").mkdir()
    first, again = Accounts(tmp_path / "key"), Accounts(tmp_path / "key")
    other = Accounts(tmp_path / "other" / "key")
    assert first.number("ann") == again.number("ann") != first.number("bob")
    assert other.number("ann") != first.number("ann")


@pytest.mark.parametrize(
    ("count", "shown"), [(0, 0), (1, 1), (4, 2), (5, 5), (9, 5), (99, 50), (499, 200), (500, 500)]
)
def test_counts_are_rounded_down(count, shown):
    assert rounded(count) == shown
