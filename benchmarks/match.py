"""The matching engine beside its peers: one query, batches, changes, the reverse, the file."""

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import lists
from benchmarks.report import PAGE, Report, best_of
from unspread.match import Catalogue, Index, append, found_in, kernel_name
from unspread.match.kernel import KernelChoice
from unspread.match.layout import CHUNKS, U64, key_bits_for

QUERIES = 512
"""Different ones, the same for all: as many as the slowest peers get through."""
_PEER_SECONDS = 0.25
"""How long a peer is asked before its median is taken."""


def run(report: Report) -> None:
    """Everything; `--quick` up to 100 000 entries, `--full` up to ten million."""
    sizes = [10_000, 100_000] if report.quick else [10_000, 100_000, 1_000_000]
    curves: dict[str, list[tuple[int, float]]] = {}
    report.text(
        f"Kernel: {kernel_name()}. One thread everywhere (peers too). `real` is the uneven mixture "
        "of `benchmarks/lists.py`, `uniform` random bits. Processor time, because the machine is "
        "shared: of single queries the best tenth of whole calls from Python, of batches and scans "
        "the best of three; changes and files by the clock. Only ratios inside one run count. The "
        "physical limit is given as a share: what fetching the cache lines that cannot be avoided "
        "takes, measured in the same run with numpy's random access, or numpy's plain reading of "
        "the same bytes for scans. docs/matching.md says what stands in the way of more."
    )
    for size in sizes:
        _one_query(report, curves, size, "uniform", lists.uniform(size, 1))
    _one_query(report, {}, sizes[-1], "real", lists.real(sizes[-1], 1))
    if report.full:
        _one_query(report, curves, 10_000_000, "uniform", lists.uniform(10_000_000, 1))
        sizes.append(10_000_000)
    size = 100_000 if report.quick else 1_000_000
    _skewed(report, size)
    _skewed(report, size, only=_FEW_CROWDS, kernel="numpy")
    if report.full:
        _skewed(report, 10_000_000, only=_FEW_CROWDS[:1])
    _batches(report, 100_000 if report.quick else 1_000_000)
    _changes(report, 100_000 if report.quick else 1_000_000)
    _file(report, sizes[-1])
    _reverse(report, 2_000_000 if report.quick else 20_000_000)
    if not report.quick:
        _plot(report, curves)


def _call_us(ask: Callable[[U64], object], queries: U64, seconds: float = _PEER_SECONDS) -> float:
    """Microseconds of processor time of a call, in the best tenth of groups of 16 calls.

    Not the median: what others on the machine take from the caches is not what is compared.
    """
    ask(queries[0])
    taken, ends = [], time.perf_counter() + seconds
    for start in itertools.cycle(range(0, len(queries), 16)):
        group = queries[start : start + 16]
        started = time.process_time_ns()
        for query in group:
            ask(query)
        taken.append((time.process_time_ns() - started) / len(group))
        if time.perf_counter() > ends:
            break
    return float(np.percentile(taken, 10)) / 1e3


def _median_wall_us(ask: Callable[[U64], object], queries: U64, seconds: float) -> float:
    """Median microseconds on the clock of a call."""
    taken, ends = [], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for query in queries:
            started = time.perf_counter()
            ask(query)
            taken.append(time.perf_counter() - started)
    return float(np.median(taken)) * 1e6


def _cpu(work: Callable[[], object], **options: float) -> float:
    """Seconds of processor time of all threads for one call, the best of some."""
    return best_of(work, clock=time.process_time, **options)


def _ours_us(index: Index, queries: U64) -> float:
    """The same, of one index."""
    return _call_us(index.within, queries)


def _as_bytes(rows: U64) -> np.ndarray:
    return np.ascontiguousarray(rows).view(np.uint8).reshape(-1, 32)


def _peers(rows: U64) -> dict[str, Callable[[U64], object]]:
    """Each peer's way to ask one row, over the same list; those that cannot hold it left out."""
    import faiss
    from threatexchange.signal_type.pdq.pdq_index import PDQIndex
    from usearch.index import MetricKind
    from usearch.index import search as usearch_search

    faiss.omp_set_num_threads(1)
    packed = _as_bytes(rows)
    peers: dict[str, Callable[[U64], object]] = {}

    multi = faiss.IndexBinaryMultiHash(256, 16, 16)
    multi.nflip = 1
    multi.add(packed)
    peers["faiss MultiHash"] = lambda row: multi.range_search(_as_bytes(row), 32)
    flat = faiss.IndexBinaryFlat(256)
    flat.add(packed)
    peers["faiss Flat"] = lambda row: flat.range_search(_as_bytes(row), 32)
    if len(rows) <= 1_000_000:
        hexes = [(row.tobytes().hex(), position) for position, row in enumerate(packed)]
        pdq = PDQIndex(hexes)
        peers["threatexchange"] = lambda row: pdq.query(row.tobytes().hex())
        peers["usearch exact"] = lambda row: usearch_search(
            packed, _as_bytes(row), 10, MetricKind.Hamming, exact=True, threads=1
        )
        peers["numpy"] = lambda row: np.flatnonzero(
            np.bitwise_count(rows ^ row).sum(axis=1, dtype=np.uint16) <= 31
        )
    return peers


TARGETS = {
    ("threatexchange", 100_000): 60,
    ("threatexchange", 1_000_000): 300,
    ("faiss MultiHash", 10_000_000): 1500,
}


def _one_query(
    report: Report, curves: dict[str, list[tuple[int, float]]], size: int, kind: str, rows: U64
) -> None:
    make = lists.uniform if kind == "uniform" else lists.real
    misses = make(QUERIES, 99)
    hits = lists.flipped(rows[:QUERIES], np.full(QUERIES, 20), 7)
    index = Index.build(np.arange(size), rows)
    ours = _ours_us(index, misses)
    plain = Index.build(np.arange(size), rows, kernel="numpy") if size <= 1_000_000 else None
    numpy_us = _call_us(plain.within, misses) if plain else float("nan")
    curves.setdefault("unspread, compiled", []).append((size, ours))
    if plain:
        curves.setdefault("unspread, numpy", []).append((size, numpy_us))
    what = f"one miss, {size:,} {kind}"
    for name, ask in _peers(rows).items():
        # Turn and turn about, because the machine's mood changes.
        pairs = [(_call_us(ask, misses), _ours_us(index, misses)) for _ in range(4)]
        theirs, ours = (min(pair) for pair in zip(*pairs, strict=True))
        curves.setdefault(name, []).append((size, theirs))
        wanted = TARGETS.get((name, size)) if kind == "uniform" else None
        report.row(what, ours, "µs", peer=name, theirs=theirs, at_least=wanted)
        if name == "threatexchange" and size >= 100_000:
            wanted = 25 if size == 1_000_000 and kind == "uniform" else None
            label = what.replace("one miss", "numpy kernel, one miss")
            report.row(label, numpy_us, "µs", peer=name, theirs=theirs, at_least=wanted)
    report.row(what.replace("miss", "hit"), _ours_us(index, hits), "µs")
    report.row(f"{what}, 16 384 different ones", _ours_us(index, make(16_384, 98)), "µs")
    if size >= 100_000:
        limit = _lines_us(index)
        report.row(
            f"share of that miss that fetching its cache lines takes, {size:,} {kind}",
            100 * limit / ours,
            "%",
        )
    if size >= 1_000_000:
        per_entry = index.info().memory_bytes / size
        report.row(f"memory, {size:,} {kind}", per_entry, "bytes/entry", at_most=130)


def _lines_us(index: Index) -> float:
    """The least time to fetch the cache lines that a miss cannot do without, measured.

    As many random lines of the same arrays as a query reads, by numpy: with keys of 16 bits, 13 of
    the directory for the 17 buckets of a table (four neighbours share the own bucket's line), and
    those that the buckets' signatures span.
    """
    total = 0.0
    for part in index._state.parts:
        if part.tables is None:
            continue
        offsets = part.tables.offsets.reshape(-1)
        signatures = part.tables.signatures.reshape(-1)
        bits = part.tables.key_bits
        spanned = 1 + 2 * part.tables.signatures.shape[1] / 2**bits / 64
        for array, count in ((offsets, 16 * (bits - 3)), (signatures, 16 * (bits + 1) * spanned)):
            places = np.random.default_rng(1).integers(0, len(array), 200_000)
            total += _cpu(lambda a=array, p=places: a[p].sum(), runs=5) / 200_000 * count
    return total * 1e6


def _crowds(centre: U64, count: int) -> dict[str, Callable[[], U64]]:
    """Rows that somebody lists in order to make queries slow."""
    rng = np.random.default_rng(5)

    def sharing(bits: int) -> U64:
        mask = np.zeros((count, 256), dtype=np.uint8)
        free = rng.permutation(256)[bits:]
        mask[:, free] = rng.integers(0, 2, (count, len(free)), dtype=np.uint8)
        return centre ^ np.packbits(mask, axis=1, bitorder="little").view("<u8")

    around = np.repeat(centre, count, axis=0)
    return {
        "in one ball": lambda: lists.flipped(around, rng.integers(20, 61, count), 6),
        "48 bits from one row": lambda: lists.flipped(around, np.full(count, 48), 6),
        **{
            f"sharing {bits} bits": partial(sharing, bits)
            for bits in (224, 128, 96, 80, 72, 64, 32, 16)
        },
    }


_FEW_CROWDS = ("in one ball", "sharing 224 bits", "sharing 128 bits", "sharing 96 bits")


def _skewed(
    report: Report,
    size: int,
    *,
    only: tuple[str, ...] | None = None,
    kernel: KernelChoice | None = None,
) -> None:
    base = lists.uniform(size, 2)
    tenth = size // 10
    index = Index.build(np.arange(size), base, kernel=kernel)
    strangers = lists.uniform(QUERIES, 98)
    shown = f"{kernel} kernel, " if kernel else ""
    for name, made in _crowds(base[:1], tenth).items():
        if only and name not in only:
            continue
        crowd = made()
        rows = np.concatenate((crowd, base[tenth:]))
        skewed = Index.build(np.arange(size), rows, kernel=kernel)
        for away in (None, 40, 31, 24, 8, 0):
            what = "a stranger" if away is None else f"{away} bits from a member"
            queries = lists.uniform(QUERIES, 97)
            if away is not None:
                queries = lists.flipped(crowd[:QUERIES], np.full(QUERIES, away), 8)
            # Turn and turn about, because the machine's mood changes.
            pairs = [(_ours_us(skewed, queries), _ours_us(index, strangers)) for _ in range(3)]
            taken, ordinary = (min(pair) for pair in zip(*pairs, strict=True))
            report.row(
                f"{shown}a tenth of {size:,} {name}: {what}, times an ordinary miss",
                taken / ordinary,
                "x",
                at_most=10,
            )


def _batches(report: Report, size: int) -> None:
    import faiss

    faiss.omp_set_num_threads(1)
    rows = lists.uniform(size, 3)
    index = Index.build(np.arange(size), rows)
    multi = faiss.IndexBinaryMultiHash(256, 16, 16)
    multi.nflip = 1
    multi.add(_as_bytes(rows))
    few = lists.uniform(500, 4)
    theirs = _cpu(lambda: multi.range_search(_as_bytes(few), 32)) / len(few) * 1e6
    for count in (8, 10_000, 100_000, 1_000_000):
        queries = lists.uniform(count, 5)
        ours = _cpu(lambda queries=queries: index.within_many(queries)) / count * 1e6
        report.row(
            f"each of a batch of {count:,}, {size:,} uniform",
            ours,
            "µs",
            peer="faiss MultiHash, batch of 500",
            theirs=theirs,
            at_least=3000 if (count, size) == (1_000_000, 1_000_000) else None,
        )
    bits = key_bits_for(size)
    report.row(
        "pairs of signatures compared for each of the largest batch, a second of one core",
        CHUNKS * (bits + 1) * size / 2**bits / ours / 1e3,
        "billion",
        better="more",
    )


def _changes(report: Report, size: int) -> None:
    rows, fresh = lists.uniform(size, 6), lists.uniform(4000, 7)
    index = Index.build(np.arange(size), rows)
    ids = [np.array([size + each]) for each in range(len(fresh))]
    taken = []
    for each, row in zip(ids, fresh[:, None], strict=True):
        started = time.perf_counter()
        index.add(each, row)
        taken.append(time.perf_counter() - started)
    report.row(f"add one, {size:,} entries", float(np.median(taken)) * 1e6, "µs", at_most=10)
    taken = []
    for each in ids:
        started = time.perf_counter()
        index.remove(each)
        taken.append(time.perf_counter() - started)
    report.row(f"remove one, {size:,} entries", float(np.median(taken)) * 1e6, "µs", at_most=10)

    queries = lists.uniform(QUERIES, 8)
    stop = threading.Event()

    def rebuild() -> None:
        while not stop.is_set():
            index.rebuild()

    index.rebuild()
    # Turn and turn about: what the rest of the machine does then falls on both alike.
    alone, meanwhile = [], []
    for _ in range(5):
        alone.append(_median_wall_us(index.within, queries, 0.3))
        stop.clear()
        thread = threading.Thread(target=rebuild)
        thread.start()
        meanwhile.append(_median_wall_us(index.within, queries, 0.3))
        stop.set()
        thread.join()
    report.row(
        f"median of a query while tables are rebuilt, {size:,} entries",
        100 * min(meanwhile) / min(alone),
        "% of undisturbed",
        at_most=110,
    )
    report.row(f"rebuild, {size:,} entries", best_of(index.rebuild) * 1e3, "ms")


def _file(report: Report, size: int) -> None:
    index = Index.build(np.arange(size), lists.uniform(size, 9))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "index"
        index.save(path)
        report.row(
            f"open {size:,} entries from a file",
            best_of(lambda: Index.open(path, verify=False)) * 1e3,
            "ms",
            at_most=50,
        )
        query = lists.uniform(1, 1)[0]
        report.row(
            f"open {size:,} entries and ask once",
            best_of(lambda: Index.open(path, verify=False).within(query)) * 1e3,
            "ms",
        )
        report.row(
            f"verify {size:,} entries",
            best_of(lambda: Index.open(path, verify=True), runs=1) * 1e3,
            "ms",
        )


def _reverse(report: Report, size: int) -> None:
    os.environ["POLARS_MAX_THREADS"] = "1"
    import duckdb
    import polars as pl

    rng = np.random.default_rng(10)
    catalogue = Catalogue(
        rng.integers(0, 2**64, (size, 2), dtype=np.uint64),
        rng.integers(0, 2**64, (size, 2), dtype=np.uint64),
    )
    flat = catalogue.front.reshape(-1)
    columns = [*catalogue.front.T, *catalogue.back.T]
    frame = pl.DataFrame(dict(zip("abcd", columns, strict=True)))
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("frame", frame)
    connection.execute("CREATE TABLE catalogue AS SELECT * FROM frame")
    shown = f"{size:,} rows"
    for count in (1, 2, 4, 8):
        listings = lists.uniform(count, 11)

        def ours(listings: U64 = listings) -> int:
            return sum(len(stretch.rows) for stretch in found_in(catalogue, listings))

        # The limit beside it: numpy's xor over the same fronts reads and does nothing else.
        read, taken = float("inf"), float("inf")
        for _ in range(3):
            read = min(read, _cpu(lambda: np.bitwise_xor.reduce(flat), at_least_seconds=0))
            taken = min(taken, _cpu(ours, at_least_seconds=0))
        report.row(
            f"{count} new listings against {shown}: share of the memory's read bandwidth",
            100 * read / taken,
            "%",
            at_least=90 if count <= 4 else None,
        )
        if count in {2, 4}:
            continue
        report.row(
            f"{count} new listings against {shown}",
            flat.nbytes / taken / 1e9,
            "GB/s",
            better="more",
        )
        words = [[int(word) for word in row] for row in listings]
        terms = [
            " + ".join(
                f"bit_count(xor({name}, {word}::UBIGINT))::SMALLINT"
                for name, word in zip("abcd", row, strict=True)
            )
            for row in words
        ]
        near = " OR ".join(f"{term} <= 31" for term in terms)
        sql = f"SELECT count(*) FROM catalogue WHERE {near}"  # noqa: S608 (our own numbers)
        theirs = _cpu(lambda sql=sql: connection.execute(sql).fetchall(), runs=1)
        wanted = {1: 10, 8: 30}[count]
        what = f"{count} new listings against {shown}"
        report.row(what, taken * 1e3, "ms", peer="DuckDB", theirs=theirs * 1e3, at_least=wanted)

        lazy = frame.lazy().filter(
            pl.any_horizontal(
                sum(
                    (pl.col(name) ^ pl.lit(word, dtype=pl.UInt64)).bitwise_count_ones()
                    for name, word in zip("abcd", row, strict=True)
                )
                <= 31
                for row in words
            )
        )
        theirs = _cpu(lambda lazy=lazy: lazy.collect(engine="streaming"), runs=1)
        report.row(what, taken * 1e3, "ms", peer="Polars", theirs=theirs * 1e3)
    with tempfile.TemporaryDirectory() as directory:
        rows = np.concatenate((catalogue.front, catalogue.back), axis=1)
        append(directory, [rows])
        del rows
        mapped = Catalogue.open(directory)
        listings = lists.uniform(1, 11)
        taken = _cpu(lambda: sum(len(each.rows) for each in found_in(mapped, listings)))
        report.row(f"1 new listing against {shown} in files", flat.nbytes / taken / 1e9, "GB/s")


def _plot(report: Report, curves: dict[str, list[tuple[int, float]]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "unspread"
    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    for name, points in curves.items():
        is_ours = name.startswith("unspread")
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            label=name,
            linewidth=2.5 if is_ours else 1.2,
            linestyle="-" if is_ours else "--",
        )
    axes.set(xscale="log", yscale="log", xlabel="listings", ylabel="µs for one query (a miss)")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    path = PAGE.parent / "figures" / "match-time-by-size.svg"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    report.figure(path, "Time for one query against the size of the list, all peers, log scale")
