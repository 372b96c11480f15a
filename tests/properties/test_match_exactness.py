"""Every answer of every kernel equals the oracle's, above all where the filter could slip."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties.match_oracle import (
    KERNEL_NAMES,
    KERNELS,
    ORDER,
    answer,
    distance_bits,
    flipped,
    flipped_by_chunk,
    matches_within,
    random_rows,
)
from unspread.match import _kernel, building
from unspread.match.building import parts_of
from unspread.match.index import Index
from unspread.match.layout import CHUNKS, CLUMP_REACH_BITS, FLAT_ROWS, Part, Tables

LISTED = random_rows(FLAT_ROWS + 900, seed=1)
"""Just enough rows for tables."""
KINDS = pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_NAMES)


def index_of(kernel, ids, rows, **options):
    permuted, at = kernel.permuted(rows, ORDER), np.asarray(ids)
    blocks = [
        (at[start : start + 7], permuted[start : start + 7]) for start in range(0, len(at), 7)
    ]
    parts = parts_of(kernel, blocks, **options)
    return Index(kernel, ORDER, parts, **options)


def index_with(kernel, planted, **options):
    """An index of LISTED under ids from 1000 and the planted rows under ids from 0."""
    ids = np.concatenate((np.arange(len(planted)), 1000 + np.arange(len(LISTED))))
    return index_of(kernel, ids, np.concatenate((planted, LISTED)), **options)


@pytest.fixture(scope="module")
def indexes():
    return [index_with(kernel, LISTED[:0]) for kernel in KERNELS]


def compositions(total):
    """Ways to spread `total` bits over the chunks that stand closest to the filter's bounds."""
    rng = np.random.default_rng(total)
    even, rest = divmod(total, CHUNKS)
    yield [even + (chunk < rest) for chunk in range(CHUNKS)]
    yield [even + (chunk >= CHUNKS - rest) for chunk in range(CHUNKS)]
    for high in range(2, 5):
        # Alternating 0 and high, 1 and high: every second chunk just fails.
        for low in range(2):
            counts = [low if chunk % 2 else high for chunk in range(CHUNKS)]
            while sum(counts) > total:
                counts[rng.choice(np.flatnonzero(counts))] -= 1
            while sum(counts) < total:
                counts[rng.integers(CHUNKS)] += 1
            yield counts
    for _ in range(24):
        yield np.bincount(rng.integers(0, CHUNKS, total), minlength=CHUNKS).clip(max=16).tolist()


@KINDS
@pytest.mark.parametrize("radius_bits", range(32))
def test_a_row_is_found_at_the_radius_and_not_one_bit_beyond_however_the_bits_are_spread(
    indexes, kernel, radius_bits
):
    index = indexes[KERNELS.index(kernel)]
    rng = np.random.default_rng(radius_bits)
    for total in {max(0, radius_bits - 1), radius_bits, radius_bits + 1}:
        for counts in compositions(total):
            number = int(rng.integers(len(LISTED)))
            turned = np.roll(counts, rng.integers(CHUNKS))
            query = flipped_by_chunk(LISTED[number], turned, rng)
            away = distance_bits(query, LISTED[number])
            expected = [(1000 + number, away)] if away <= radius_bits else []
            assert answer(index.within(query, radius_bits)) == expected


@KINDS
def test_above_the_tables_radius_a_scan_answers_the_same(kernel):
    index = index_with(kernel, LISTED[:2])
    entries = [*enumerate(LISTED[:2]), *enumerate(LISTED, 1000)]
    for radius_bits in (32, 47, 64, 90, 100):
        query = flipped(LISTED[1], range(radius_bits))
        expected = matches_within(entries, query, radius_bits)
        found = index.within(query, radius_bits, limit=100_000)
        assert answer(found) == expected
    assert len(index.within(LISTED[0], 256, limit=10**6)) == len(entries)


@KINDS
@pytest.mark.parametrize("copies", [1, 2, 4, 8, 300, 2000])
def test_identical_rows_are_all_found(kernel, copies):
    index = index_with(kernel, np.tile(LISTED[:1], (copies, 1)))
    found = index.within(flipped(LISTED[0], range(31)), limit=10_000)
    assert answer(found) == [(each, 31) for each in sorted([*range(copies), 1000])]
    many = index.within_many(np.tile(LISTED[:1], (3, 1)), limit=10_000)
    assert np.bincount(many.query_positions).tolist() == [copies + 1] * 3


@KINDS
def test_an_empty_index_and_an_index_of_one_answer(kernel):
    empty = index_of(kernel, [], LISTED[:0])
    assert len(empty) == len(empty.within(LISTED[0])) == len(empty.within_many(LISTED[:5])) == 0
    one = index_of(kernel, [-5], LISTED[:1])
    assert answer(one.within(LISTED[0])) == [(-5, 0)]
    assert len(one.within_many(LISTED[:0])) == 0


@KINDS
@pytest.mark.parametrize("count", [1, 7, 64, 5000], ids=lambda count: f"{count} queries")
def test_a_batch_answers_what_its_queries_answer_alone(kernel, count):
    rng = np.random.default_rng(count)
    near = [
        flipped(LISTED[number], rng.permutation(256)[: rng.integers(28, 35)])
        for number in rng.integers(0, len(LISTED), count)
    ]
    queries = np.stack(near)
    index = index_with(kernel, LISTED[:40])
    index.add(np.arange(50_000, 50_030), LISTED[100:130])
    index.remove(np.arange(1010, 1020))
    many = index.within_many(queries)
    singles = [index.within(query) for query in queries]
    assert many.query_positions.tolist() == [
        position for position, found in enumerate(singles) for _ in found.ids
    ]
    assert many.ids.tolist() == [each for found in singles for each in found.ids.tolist()]
    assert many.distances_bits.tolist() == [
        each for found in singles for each in found.distances_bits.tolist()
    ]


@KINDS
def test_a_part_boundary_changes_no_answer(kernel):
    split = index_with(kernel, LISTED[:9], part_rows=4500)
    whole = index_with(kernel, LISTED[:9])
    queries = random_rows(20, seed=4)
    queries[:10] = [flipped(LISTED[each], range(each, each + 31)) for each in range(10)]
    for query in queries:
        assert answer(split.within(query)) == answer(whole.within(query))


@pytest.mark.parametrize(
    "crowded",
    [
        *(
            pytest.param(
                lambda centre, bits=bits: cube(centre, 900, bits, bits), id=f"cube of {bits}"
            )
            for bits in (0, 8, 32, 80, 120)
        ),
        # Groups of one id lie on both sides of where a scan stops.
        pytest.param(lambda centre: ball(centre, 2900, [0, 1, 2, 9], 51), id="tight"),
        pytest.param(lambda centre: ball(centre, 2900, range(4, 22), 52), id="loose"),
    ],
)
@pytest.mark.parametrize("of_an_id", [3, 2900], ids=lambda count: f"{count} of an id")
def test_a_list_made_of_near_copies_is_answered_the_same_by_both_kernels(crowded, of_an_id):
    crowd = crowded(random_rows(1, seed=50)[0])
    ids = np.concatenate((np.arange(len(crowd)) // of_an_id, 1000 + np.arange(len(LISTED))))
    rows = np.concatenate((crowd, LISTED))
    entries = list(zip(ids.tolist(), rows, strict=True))
    indexes = [index_of(kernel, ids, rows) for kernel in KERNELS]
    for index in indexes:
        index.remove(np.arange(40, 45))
    entries = [(each, row) for each, row in entries if not 40 <= each < 45]
    rng = np.random.default_rng(9)
    queries = [flipped(crowd[each], rng.permutation(256)[:20]) for each in range(8)]
    for query in [*queries, *LISTED[:3], ~crowd[0]]:
        expected = matches_within(entries, query, 31)
        for index in indexes:
            assert answer(index.within(query, limit=10_000)) == expected
        kept = sorted(expected)[:50]
        for index in indexes:
            capped = index.within(query, limit=50)
            assert answer(capped) == sorted(kept, key=lambda match: (match[1], match[0]))
            assert capped.is_capped == (len(expected) > 50)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_index_returns_exactly_what_the_oracle_returns(data):
    """Small lists (scanned) and tables (few values in each word, so that buckets collide)."""
    word = st.sampled_from([0, 1, 0xFFFF, 2**64 - 1, 0x0123456789ABCDEF])
    rows = data.draw(st.lists(st.tuples(word, word, word, word), min_size=1, max_size=12))
    query = np.array(data.draw(st.sampled_from(rows)), dtype=np.uint64)
    radius_bits = data.draw(st.integers(0, 40))
    step = data.draw(st.sampled_from([-1, 0, 1]))
    bits = data.draw(st.permutations(range(256)))[: max(0, radius_bits + step)]
    query = flipped(query, bits)
    entries = list(enumerate(np.array(rows, dtype=np.uint64)))
    expected = matches_within(entries, query, radius_bits)
    for kernel in KERNELS:
        index = index_of(kernel, np.arange(len(rows)), np.array(rows, dtype=np.uint64))
        assert answer(index.within(query, radius_bits)) == expected


def test_both_kernels_make_the_same_tables():
    ids = np.random.default_rng(2).permutation(len(LISTED))
    parts = [parts_of(each, [(ids, each.permuted(LISTED, ORDER))])[0] for each in KERNELS]
    for part in parts[1:]:
        assert np.array_equal(part.front, parts[0].front)
        for name in ("offsets", "signatures", "positions"):
            ours, theirs = getattr(part.tables, name), getattr(parts[0].tables, name)
            assert np.array_equal(ours, theirs)


@KINDS
def test_a_scan_of_halves_finds_every_pair(kernel):
    needles = LISTED[5:8].copy()
    needles[1] = flipped(LISTED[900], range(150, 181))
    front, back = np.ascontiguousarray(LISTED[:, :2]), np.ascontiguousarray(LISTED[:, 2:])
    found = [each.tolist() for each in kernel.scan(front, back, needles, 31)]
    assert found == [[5, 7, 900], [0, 2, 1], [0, 0, 31]]
    halves = [each.tolist() for each in kernel.scan(front, None, needles, 31)]
    assert halves == [[5, 7, 900], [0, 2, 1], [0, 0, 0]]


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=KERNEL_NAMES[1:])
@pytest.mark.parametrize("listed", [5000, 81_000], ids=lambda count: f"{count} entries")
def test_a_batch_met_bucket_by_bucket_finds_what_was_planted(kernel, listed):
    rng = np.random.default_rng(listed)
    rows = random_rows(listed, seed=21)
    index = index_of(kernel, np.arange(listed), rows)
    for radius_bits in (0, 7, 15, 16, 23, 31):
        # As many as make either side the fuller one.
        queries = random_rows(22_000, seed=22)
        planted = np.sort(rng.permutation(len(queries))[:150])
        numbers = rng.integers(0, listed, len(planted))
        expected = []
        for position, number in zip(planted.tolist(), numbers.tolist(), strict=True):
            away = max(0, int(rng.integers(radius_bits - 1, radius_bits + 2)))
            counts = list(compositions(away))[rng.integers(10)]
            turned = np.roll(counts, rng.integers(CHUNKS))
            queries[position] = flipped_by_chunk(rows[number], turned, rng)
            away = distance_bits(queries[position], rows[number])
            if away <= radius_bits:
                expected.append((position, number, away))
        many = index.within_many(queries, radius_bits)
        assert list(zip(*(each.tolist() for each in many), strict=True)) == expected


@KINDS
def test_rows_made_to_overfill_the_buckets_of_a_batch_change_no_answer(kernel):
    """They share 32 bits, so nothing is a clump, and every query meets every row."""
    rows, queries = LISTED.copy(), random_rows(1100, seed=23)
    shared = np.zeros(4, dtype=np.uint64)
    for bit in ORDER[:32].tolist():
        shared[bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
    rows, queries = rows & ~shared, queries & ~shared
    queries[7] = rows[70]
    index = index_of(kernel, np.arange(len(rows)), rows)
    assert index.info().clumped == 0
    many = index.within_many(queries)
    assert (many.query_positions.tolist(), many.ids.tolist()) == ([7], [70])
    assert answer(index.within(queries[7])) == [(70, 0)]


def index_with_keys(kernel, key_bits, rows):
    """An index with fuller buckets than a list of its size has: one of many millions has such."""
    part = parts_of(kernel, [(np.arange(len(rows)), kernel.permuted(rows, ORDER))])[0]
    assert part.tables is not None
    tables = Tables(
        np.empty((CHUNKS, (1 << key_bits) + 1), dtype=np.uint32),
        np.empty_like(part.tables.signatures),
        np.zeros_like(part.tables.positions),
    )
    kept = np.arange(len(rows), dtype=np.uint32)
    _kernel.fill_tables(
        part.front, part.back, kept, tables.offsets, tables.signatures, tables.positions
    )
    return Index(kernel, ORDER, (Part(part.ids, part.front, part.back, part.dead, tables),))


@KINDS
@pytest.mark.parametrize(
    ("listed", "key_bits", "asked"),
    [
        (5000, 0, 1040),
        (5000, 1, 1040),
        (5000, 16, 1040),
        (30_000, 10, 4800),
        (120_000, 11, 1040),
    ],
)
@pytest.mark.parametrize("radius_bits", [15, 31])
def test_however_full_the_buckets_are_all_is_found(kernel, listed, key_bits, asked, radius_bits):
    rows = random_rows(listed, seed=26)
    index = index_with_keys(kernel, key_bits, rows)
    rng = np.random.default_rng(key_bits)
    queries, expected = random_rows(asked, seed=25), []
    for position in range(0, len(queries), 20):
        away = int(rng.integers(radius_bits - 1, radius_bits + 2))
        counts = list(compositions(away))[rng.integers(10)]
        number = int(rng.integers(listed))
        turned = np.roll(counts, rng.integers(CHUNKS))
        queries[position] = flipped_by_chunk(rows[number], turned, rng)
        away = distance_bits(queries[position], rows[number])
        if away <= radius_bits:
            expected.append((position, number, away))
    many = index.within_many(queries, radius_bits)
    assert list(zip(*(each.tolist() for each in many), strict=True)) == expected
    alone = [
        (position, *match)
        for position in range(0, len(queries), 20)
        for match in answer(index.within(queries[position], radius_bits))
    ]
    assert alone == expected


@KINDS
def test_a_bucket_far_longer_than_usual_is_read_to_its_end(kernel):
    rows = random_rows(30_000, seed=27)
    # 150 rows share a key of table 5, and only table 5 can find what differs in 2 bits elsewhere.
    alike = np.zeros(4, dtype=np.uint64)
    for bit in ORDER[16 * 5 : 16 * 5 + 10].tolist():
        alike[bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
    rows[:150] &= ~alike
    index = index_with_keys(kernel, 10, rows)
    rng = np.random.default_rng(5)
    counts = [1 if chunk == 5 else 2 for chunk in range(CHUNKS)]
    queries = np.stack([flipped_by_chunk(row, counts, rng) for row in rows[:150]])
    for number, query in enumerate(queries):
        assert (number, 31) in answer(index.within(query))
    strangers = random_rows(5000, seed=28)
    for asked in (np.concatenate((queries, strangers[:900])), np.concatenate((queries, strangers))):
        many = index.within_many(asked)
        assert set(zip(range(150), range(150), strict=True)) <= set(
            zip(many.query_positions.tolist(), many.ids.tolist(), strict=True)
        )


@KINDS
def test_more_near_signatures_than_are_looked_up_at_once_are_all_looked_up(kernel):
    """5000 rows agree in two chunks, and are strangers otherwise."""
    rows = random_rows(60_000, seed=29)
    alike = np.zeros(4, dtype=np.uint64)
    for bit in ORDER[16 * 5 : 16 * 7].tolist():
        alike[bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
    rows[:5000] &= ~alike
    index = index_with_keys(kernel, 14, rows)
    rng = np.random.default_rng(6)
    counts = [1 if chunk == 5 else 2 for chunk in range(CHUNKS)]
    for number in range(0, 5000, 49):
        query = flipped_by_chunk(rows[number], counts, rng)
        assert answer(index.within(query)) == [(number, 31)]


@KINDS
@pytest.mark.parametrize("free_bits", [8, 32, 48])
def test_a_clump_is_scanned_by_a_query_that_just_reaches_a_member(kernel, free_bits):
    """The member farthest from the centre, and a query 31 bits beyond, in bits that all share."""
    crowd = cube(random_rows(1, free_bits)[0], 900, free_bits, free_bits)
    rows = np.concatenate((crowd, LISTED))
    (part,) = parts_of(kernel, [(np.arange(len(rows)), kernel.permuted(rows, ORDER))])
    clumps = part.clumps
    assert clumps is not None
    held = np.concatenate((part.front, part.back), axis=1)[clumps.positions]
    away = np.bitwise_count(held ^ clumps.centres[0]).sum(axis=1, dtype=int)
    member = int(away.argmax())
    assert away[member] == clumps.radii[0]
    common = np.unpackbits(clumps.common[0].astype("<u8").view(np.uint8), bitorder="little")
    number = int(clumps.positions[member])
    index = Index(kernel, ORDER, (part,))
    rng = np.random.default_rng(free_bits)
    for step in (0, 1):
        beyond = ORDER[rng.permutation(np.flatnonzero(common))[: 31 + step]]
        found = answer(index.within(flipped(rows[number], beyond), limit=2000))
        assert ((number, 31) in found) == (step == 0)


def ball(centre, count, bits, seed):
    """Rows of which each differs from the centre in one of `bits` many bits."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [flipped(centre, rng.permutation(256)[: rng.choice(bits)]) for _ in range(count)]
    )


def cube(centre, count, free_bits, seed):
    """Rows that are like the centre in all but `free_bits` bits."""
    rng = np.random.default_rng(seed)
    free = rng.permutation(256)[:free_bits]
    return np.stack([flipped(centre, free[rng.random(free_bits) < 0.5]) for _ in range(count)])


@pytest.mark.parametrize(
    "crowded",
    [
        pytest.param(lambda centre, count: ball(centre, count, [0, 1, 2, 9], 31), id="tight"),
        pytest.param(lambda centre, count: ball(centre, count, range(10, 40), 32), id="loose"),
        pytest.param(lambda centre, count: ball(centre, count, [45], 33), id="a shell"),
        pytest.param(lambda centre, count: cube(centre, count, 24, 34), id="sharing 232 bits"),
        pytest.param(lambda centre, count: cube(centre, count, 110, 35), id="sharing 146 bits"),
        pytest.param(lambda centre, count: cube(centre, count, 160, 36), id="sharing 96 bits"),
    ],
)
@pytest.mark.parametrize("radius_bits", [0, 7, 16, 31])
def test_every_member_of_a_clump_is_found_at_the_radius_and_not_one_bit_beyond(
    crowded, radius_bits, monkeypatch
):
    """Two clumps, so that members stand before, on and behind each border between vectors."""
    monkeypatch.setattr(building, "_CROWD_ROWS", 12)
    sizes, centres = (1100, 700), random_rows(2, seed=41)
    crowds = [crowded(centre, size) for centre, size in zip(centres, sizes, strict=True)]
    rows = np.concatenate((*crowds, LISTED[:3000]))
    rng = np.random.default_rng(42)
    rows = rows[rng.permutation(len(rows))]
    indexes = [index_of(kernel, np.arange(len(rows)), rows) for kernel in KERNELS]
    assert indexes[0].info().clumped >= 1700
    crowd = np.concatenate(crowds)
    for step in (-1, 0, 1):
        for member in crowd[rng.integers(0, len(crowd), 24)]:
            query = flipped(member, rng.permutation(256)[: max(0, radius_bits + step)])
            away = np.bitwise_count(rows ^ query).sum(axis=1, dtype=int)
            near = np.flatnonzero(away <= radius_bits)
            expected = sorted(zip(near.tolist(), away[near].tolist(), strict=True), key=by_distance)
            for index in indexes:
                assert answer(index.within(query, radius_bits, limit=10_000)) == expected


def by_distance(match):
    return match[1], match[0]


@KINDS
def test_a_query_as_far_from_a_clump_as_any_finds_the_member_that_is_as_far_as_any(
    kernel, monkeypatch
):
    """All 80 bits of the member come before the 31 more of the query in the index's order."""
    monkeypatch.setattr(building, "_CROWD_ROWS", 12)
    centre = random_rows(1, seed=43)[0]
    rows = np.concatenate((ball(centre, 600, [2, 3], 44), LISTED[:4000]))
    rows[0] = flipped(centre, ORDER[:CLUMP_REACH_BITS])
    (part,) = parts_of(kernel, [(np.arange(len(rows)), kernel.permuted(rows, ORDER))])
    assert part.clumps is not None
    assert part.clumps.radii.max() == CLUMP_REACH_BITS
    index = Index(kernel, ORDER, (part,))
    for step in (0, 1):
        query = flipped(centre, ORDER[: CLUMP_REACH_BITS + 31 + step])
        assert answer(index.within(query)) == ([(0, 31)] if step == 0 else [])


@KINDS
def test_of_a_crowd_that_is_wider_than_a_clump_only_the_core_is_one(kernel, monkeypatch):
    """Cut into many clumps, it would be scanned as often; in tables the rest is in nobody's way."""
    monkeypatch.setattr(building, "_CROWD_ROWS", 12)
    centre = random_rows(1, seed=45)[0]
    core, shell = ball(centre, 400, range(10, 30), 46), ball(centre, 900, range(72, 90), 47)
    rows = np.concatenate((core, shell, LISTED))
    index = index_of(kernel, np.arange(len(rows)), rows)
    assert index.info().clumped == len(core)
    rng = np.random.default_rng(48)
    for number in (3, 399, 400, 1299):
        query = flipped(rows[number], rng.permutation(256)[:31])
        assert (number, 31) in answer(index.within(query))


@KINDS
def test_a_row_that_shares_all_that_a_crowd_shares_and_nothing_else_is_found(kernel, monkeypatch):
    """It is farther from the centre than the columns can say."""
    monkeypatch.setattr(building, "_CROWD_ROWS", 12)
    centre, rng = random_rows(1, seed=58)[0], np.random.default_rng(59)
    free = rng.permutation(256)[:160]
    crowd = [flipped(centre, free[rng.random(160) < 0.42]) for _ in range(900)]
    rows = np.concatenate((np.stack([*crowd, flipped(centre, free)]), LISTED))
    (part,) = parts_of(kernel, [(np.arange(len(rows)), kernel.permuted(rows, ORDER))])
    assert part.clumps is not None
    assert sorted(part.clumps.positions.tolist()) == list(range(900))
    index = Index(kernel, ORDER, (part,))
    for number in (0, 899, 900):
        query = flipped(rows[number], rng.permutation(256)[:31])
        assert answer(index.within(query)) == [(number, 31)]


@KINDS
def test_of_a_few_near_ones_in_a_clump_those_with_the_lowest_ids_are_kept(kernel):
    rng = np.random.default_rng(56)
    crowd = ball(random_rows(1, seed=55)[0], 2900, range(25, 50), 57)
    query, places = crowd[7], range(0, 2900, 150)
    for place in places:
        crowd[place] = flipped(query, rng.permutation(256)[: rng.integers(20)])
    entries = list(enumerate(crowd))
    index = index_of(kernel, np.arange(len(crowd) + len(LISTED)), np.concatenate((crowd, LISTED)))
    assert index.info().clumped >= len(crowd)
    expected = sorted(matches_within(entries, query, 31))
    assert len(expected) == len(places) + 1
    for limit in range(1, len(expected) + 1):
        found = index.within(query, limit=limit)
        assert sorted(answer(found)) == expected[:limit]
        assert found.is_capped == (limit < len(expected))


def test_pairs_are_at_least_as_near_as_both_of_their_members(monkeypatch):
    monkeypatch.setattr(building, "_CROWD_ROWS", 12)
    crowds = [ball(centre, 777, range(5, 60), 53) for centre in random_rows(2, seed=54)]
    rows = np.concatenate((*crowds, LISTED))
    kernel = KERNELS[0]
    (part,) = parts_of(kernel, [(np.arange(len(rows)), kernel.permuted(rows, ORDER))])
    clumps = part.clumps
    assert clumps is not None
    members = len(clumps.positions)
    assert members == 2 * 777
    bits, weights = unpacked(clumps.columns)
    pair_bits, pair_weights = unpacked(clumps.pairs)
    assert np.array_equal(weights, bits.sum(axis=1))
    blocks = np.arange(len(clumps.paired)) // 1024 * 1024
    paired = blocks + clumps.paired
    assert sorted(paired[:members].tolist()) == list(range(members))
    assert np.all(paired[members:] >= members)
    for pair, both in enumerate(paired.reshape(-1, 2).tolist()):
        real = [each for each in both if each < members]
        if real:
            assert np.array_equal(pair_bits[pair], np.bitwise_or.reduce(bits[real]))
            assert pair_weights[pair] == weights[real].min()


def unpacked(columns):
    """The bits and the number beside them of every member, or pair of them."""
    held = np.unpackbits(columns.astype("<u8").view(np.uint8), axis=1, bitorder="little").T
    return held[:, :256], np.packbits(held[:, 256:], axis=1, bitorder="little")[:, 0]
