"""Both catalogues keep, find and forget alike."""

import os
from collections.abc import Iterator

import pytest

from tests.unit.clearinghouse.postgres import cluster
from unspread.model import Fingerprint, Kind, Media, Part
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
            return SqliteCatalogue(store)
        made = PostgresCatalogue(request.getfixturevalue("server"))
        closing.append(made)
        return made

    first = open_it()
    first.forget([entry.reference for entry in list(first.entries_after(0))])
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
        for each in catalogue.search(wanted, radius_bits)
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
