"""Both catalogues keep, find and forget alike."""

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.unit.clearinghouse.postgres import cluster
from unspread.model import Fingerprint, Kind, Media, Part
from unspread.platform_kit import catalogue_columns
from unspread.platform_kit.bank import Probe
from unspread.platform_kit.catalogue import (
    MalformedReferenceError,
    SqliteCatalogue,
    checked_reference,
)
from unspread.platform_kit.catalogue_postgres import PostgresCatalogue
from unspread.platform_kit.store import Store
from unspread.testing.feed import START


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request, tmp_path):
    """Opens the catalogue, again and again: another process each time."""
    closing = []

    def open_it():
        if request.param == "sqlite":
            store = Store(tmp_path)
            closing.append(store)
            return SqliteCatalogue(store, tmp_path / "columns")
        made = PostgresCatalogue(request.getfixturevalue("server"), tmp_path / "columns")
        closing.append(made)
        return made

    first = open_it()
    first.forget([entry.reference for entry in list(first.entries_after(0))])
    first.close()
    yield open_it
    for each in closing:
        each.close()


def flipped(value: bytes, bits: int) -> bytes:
    return (int.from_bytes(value, "big") ^ ((1 << bits) - 1)).to_bytes(32, "big")


def pdq(value: bytes) -> Fingerprint:
    return Fingerprint(Kind.PDQ, value, quality=100)


def found(catalogue, *wanted, radius_bits=31):
    return [
        (each.reference, each.kind, each.distance_bits)
        for each in catalogue.search([(wanted, radius_bits)])[0]
    ]


def test_what_is_near_is_found_up_to_the_radius(opened):
    catalogue, value = opened(), os.urandom(32)
    for bits in (0, 30, 31, 32):
        probe = Probe(Kind.PDQ, flipped(value, bits))
        catalogue.remember(f"at {bits}", Media.IMAGE, [probe], START)

    assert found(catalogue, pdq(value)) == [
        ("at 0", Kind.PDQ, 0),
        ("at 30", Kind.PDQ, 30),
        ("at 31", Kind.PDQ, 31),
    ]


def test_a_digest_is_found_and_windows_are_not_kept(opened):
    catalogue, digest, window = opened(), os.urandom(32), os.urandom(32)
    probes = [Probe(Kind.SHA256, digest), Probe(Kind.PDQ, window, part=Part.WINDOW)]
    catalogue.remember("one", Media.VIDEO, probes, START)

    assert found(catalogue, Fingerprint(Kind.SHA256, digest)) == [("one", Kind.SHA256, 0)]
    assert found(catalogue, pdq(window)) == []
    assert catalogue.probes_of("one") == (Probe(Kind.SHA256, digest),)


def test_content_that_changed_is_known_by_its_new_fingerprints_alone(opened):
    catalogue, old, new = opened(), os.urandom(32), os.urandom(32)
    catalogue.remember("one", Media.IMAGE, [Probe(Kind.PDQ, old)], START)
    catalogue.remember("one", Media.IMAGE, [Probe(Kind.PDQ, new)], START)

    assert found(catalogue, pdq(old)) == []
    assert len(found(catalogue, pdq(new))) == 1
    assert len(catalogue) == 1


def test_forgotten_content_is_not_found_and_forgetting_twice_is_no_error(opened):
    catalogue, value = opened(), os.urandom(32)
    catalogue.remember("one", Media.IMAGE, [Probe(Kind.PDQ, value)], START)
    catalogue.forget(["one", "never there"])
    catalogue.forget(["one"])

    assert found(catalogue, pdq(value)) == []
    assert catalogue.probes_of("one") == ()


def test_a_catalogue_knows_when_content_was_posted(opened):
    catalogue, posted_at = opened(), START - timedelta(days=1000)
    catalogue.remember("one", Media.IMAGE, [Probe(Kind.PDQ, os.urandom(32))], posted_at)

    assert catalogue.posted_at("one") == posted_at
    assert catalogue.posted_at("another") is None


def test_another_process_finds_what_this_one_wrote(opened):
    one, other, value = opened(), opened(), os.urandom(32)
    entry = one.remember("one", Media.IMAGE, [Probe(Kind.PDQ, value, frame=3)], START)

    assert len(found(other, pdq(value))) == 1
    assert other.last_entry() == entry
    (seen,) = other.entries_after(entry - 1)
    assert (seen.reference, seen.probes[0].frame) == ("one", 3)
    one.forget(["one"])
    assert found(other, pdq(value)) == []


@pytest.mark.parametrize("text", ["", "x" * 513, "line\nbreak", "nul\0"])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(MalformedReferenceError):
        checked_reference(text)


def test_many_listings_are_looked_for_in_one_pass_each_by_its_own_radius(opened):
    catalogue, values = opened(), [os.urandom(32) for _ in range(5)]
    for at, value in enumerate(values):
        probes = [Probe(Kind.PDQ, flipped(value, 20)), Probe(Kind.MD5, value[:16])]
        catalogue.remember(f"post {at}", Media.IMAGE, probes, START)
    wanted = [((pdq(value),), 31 if at % 2 else 19) for at, value in enumerate(values)]
    wanted.append(((Fingerprint(Kind.MD5, values[0][:16]), pdq(values[0])), 31))
    wanted.append(((), 31))

    answers = catalogue.search(wanted)

    assert [[each.reference for each in found] for found in answers] == [
        [],
        ["post 1"],
        [],
        ["post 3"],
        [],
        ["post 0"],
        [],
    ]
    assert answers[5][0].kind is Kind.MD5


def test_a_start_reads_no_more_than_what_came_since(opened, monkeypatch):
    monkeypatch.setattr(catalogue_columns, "_TAIL_ROWS", 4)
    first, values = opened(), [os.urandom(32) for _ in range(11)]
    for at, value in enumerate(values):
        first.remember(f"post {at}", Media.IMAGE, [Probe(Kind.PDQ, value)], START)
        first.catch_up()
    first.forget(["post 2"])
    first.catch_up()
    first._columns.close()

    again, read = opened(), []
    monkeypatch.setattr(again._columns, "add", read.extend)

    assert len(again._columns) == len(values)
    assert again._columns.last_entry == first.last_entry()
    assert [len(found(again, pdq(value))) for value in values] == [1, 1, 0, *[1] * 8]
    assert read == []


def test_columns_of_a_writer_that_was_killed_hold_each_entry_once_and_whole(opened, monkeypatch):
    monkeypatch.setattr(catalogue_columns, "_TAIL_ROWS", 4)
    first, values = opened(), [os.urandom(32) for _ in range(9)]
    for at in range(3):
        probes = [Probe(Kind.PDQ, value) for value in values[3 * at : 3 * at + 3]]
        first.remember(f"post {at}", Media.VIDEO, probes, START)
        first.catch_up()
    directory = first._columns._directory
    # Killed in the middle of writing more: the front is longer than what `about` says.
    with (directory / "front").open("ab") as file:
        file.write(b"half of a row")
    first._columns._lock.close()
    first._columns._lock = None

    again = opened()
    assert [len(found(again, pdq(value))) for value in values] == [1] * 9
    again.remember("post 9", Media.IMAGE, [Probe(Kind.PDQ, os.urandom(32))] * 5, START)
    assert [len(found(again, pdq(value))) for value in values] == [1] * 9


@pytest.mark.parametrize("name", ["about", "front", "back", "entries"])
def test_damaged_columns_are_made_anew(opened, monkeypatch, name):
    monkeypatch.setattr(catalogue_columns, "_TAIL_ROWS", 2)
    first, values = opened(), [os.urandom(32) for _ in range(5)]
    for at, value in enumerate(values):
        first.remember(f"post {at}", Media.IMAGE, [Probe(Kind.PDQ, value)], START)
        first.catch_up()
    first._columns.close()
    file = first._columns._directory / name
    file.write_bytes(file.read_bytes()[:7])

    again = opened()
    assert [len(found(again, pdq(value))) for value in values] == [1] * 5


def test_what_is_forgotten_is_erased_from_the_columns_files(opened, monkeypatch):
    monkeypatch.setattr(catalogue_columns, "_TAIL_ROWS", 2)
    catalogue, values = opened(), [os.urandom(32) for _ in range(4)]
    for at, value in enumerate(values):
        catalogue.remember(f"post {at}", Media.IMAGE, [Probe(Kind.PDQ, value)], START)
        catalogue.catch_up()
    other = opened()
    other.forget(["post 1"])  # a process that may not write the files
    assert found(other, pdq(values[1])) == []
    assert found(catalogue, pdq(values[1])) == []  # the one that may learns of it

    front = (catalogue._columns._directory / "front").read_bytes()
    assert values[0][:16] in front
    assert values[1][:16] not in front
