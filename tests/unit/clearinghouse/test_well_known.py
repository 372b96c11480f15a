"""What everybody knows is held back, and what nobody knows is not."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from unspread.clearinghouse.rules import HeldReason, assess
from unspread.clearinghouse.well_known import MalformedSetError, WellKnownSet, load, shipped
from unspread.fingerprint import fingerprint_image
from unspread.model import Level, State
from unspread.testing import well_known_sources
from unspread.testing.samples import encoded, landscape
from unspread.testing.well_known_pictures import SAME_BITS

from .conftest import Running, pdq, receipt
from .test_rules import flipped

KNOWN = Path(__file__).parent / "known"
PICTURES = sorted(each.name for each in KNOWN.iterdir() if each.suffix != ".md")


@pytest.fixture(scope="module")
def known() -> WellKnownSet:
    return WellKnownSet(shipped())


def larger_and_worse(name: str) -> Image.Image:
    with Image.open(KNOWN / name) as image:
        picture = image.convert("RGB")
    larger = picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.BICUBIC)
    return larger.filter(ImageFilter.GaussianBlur(1))


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
@pytest.mark.parametrize("name", PICTURES)
def test_a_copy_of_a_flag_a_logo_or_a_famous_picture_is_held_and_the_person_reads_why(
    name: str, turn: Image.Transpose | None, known: WellKnownSet
) -> None:
    picture = larger_and_worse(name)
    copy = encoded(picture if turn is None else picture.transpose(turn), "JPEG", quality=60)
    (assessed,) = assess([fingerprint_image(copy).fingerprints], known.reason)
    assert (assessed.state, assessed.level) == (State.HELD, Level.QUARANTINED)
    assert "well_known_content" in assessed.reasons


def test_who_sends_a_logo_reads_that_it_is_well_known_and_no_platform_gets_it(
    clearinghouse: Running,
) -> None:
    logo = fingerprint_image(encoded(larger_and_worse("logo-youtube.png"), "JPEG", quality=60))
    (item,) = clearinghouse.submit(receipt(), [logo]).json()["items"]
    assert (item["state"], item["reasons"]) == ("held", ["well_known_content"])
    (shown,) = clearinghouse.status(receipt()).json()["items"]
    assert (shown["state"], shown["reasons"]) == ("held", ["well_known_content"])


@pytest.mark.parametrize("seed", range(12))
def test_a_picture_of_ones_own_is_listed(seed: int, known: WellKnownSet) -> None:
    copy = encoded(landscape(seed, 480, 360))
    (assessed,) = assess([fingerprint_image(copy).fingerprints], known.reason)
    assert (assessed.state, assessed.reasons) == (State.LISTED, ())


@pytest.mark.parametrize(
    ("bits", "reason"),
    [(0, HeldReason.WELL_KNOWN), (31, HeldReason.WELL_KNOWN), (32, None)],
)
def test_the_radius_is_that_of_matching(bits: int, reason: HeldReason | None) -> None:
    known = WellKnownSet([f"{pdq(2).hex()} blank sheet", f"{pdq(1).hex()} logo"])
    assert known.reason(flipped(pdq(1), bits)) is reason
    assert known.reason(flipped(pdq(2), 31)) is HeldReason.BLANK


def test_an_operator_adds_its_own(tmp_path: Path) -> None:
    assert load(tmp_path).reason(pdq(7)) is None
    own = tmp_path / "well_known.txt"
    own.write_text(f"# ours\n\n{pdq(7).hex()} the minister's portrait\n")
    assert load(tmp_path).reason(pdq(7)) is HeldReason.WELL_KNOWN
    own.write_text(f"{pdq(8).hex()},{pdq(9).hex()} her portrait, and turned\n")
    assert load(tmp_path).reason(pdq(9)) is HeldReason.WELL_KNOWN
    own.write_bytes(b"\xef\xbb\xbf" + f"{pdq(6).hex()} König\n".encode("latin-1"))
    assert load(tmp_path).reason(pdq(6)) is HeldReason.WELL_KNOWN
    own.write_text(f"# ours\n{pdq(8).hex()},abcd short\n")
    with pytest.raises(MalformedSetError, match="line 2 of"):
        load(tmp_path)


def test_an_empty_set_knows_nothing() -> None:
    assert WellKnownSet([]).reason(pdq(1)) is None


def test_the_set_is_in_one_form_and_in_order() -> None:
    rows = [line.partition(" ") for line in shipped()]
    assert all(re.fullmatch(r"[0-9a-f]{64}(,[0-9a-f]{64})*", row[0]) for row in rows)
    names = [name for _, _, name in rows]
    assert names == sorted(set(names))
    values = [digits.split(",") for digits, _, _ in rows]
    assert all(each == sorted(each) for each in values)
    flat = [value for each in values for value in each]
    assert len(set(flat)) == len(flat) == len(WellKnownSet(shipped()))


def test_no_logo_or_picture_is_there_twice() -> None:
    # What is drawn by the project itself, flags among it, comes in close steps on purpose.
    ours = ("blank", "chequers", "gradient", "radial", "sign", "vignette", "words", "flag")
    taken = [line.split()[0] for line in shipped() if line.split()[1] not in ours]
    digits = "".join(taken).replace(",", "")
    rows = np.frombuffer(bytes.fromhex(digits), np.uint64).reshape(-1, 4)
    for at, row in enumerate(rows[:-1]):
        assert np.bitwise_count(rows[at + 1 :] ^ row).sum(axis=1).min() > SAME_BITS


def test_the_set_has_what_it_says() -> None:
    names = {line.partition(" ")[2] for line in shipped()}
    for name in ("flag br", "flag eu", "flag un", "logo youtube", "scikit-image chelsea"):
        assert name in names
    kinds = Counter(name.split()[0] for name in names)
    assert kinds["flag"] > 200
    logos = {name.split()[1] for name in names if name.startswith("logo ")}
    assert logos == set(well_known_sources.LOGOS)
    assert {each.name for each in well_known_sources.PICTURES} <= set(kinds)


def test_every_source_is_named_with_its_licence() -> None:
    table = well_known_sources.__doc__ or ""
    sources = (well_known_sources.FLAGS, well_known_sources.ICONS, *well_known_sources.PICTURES)
    for source in sources:
        assert re.search(
            rf"^\| {source.name} \| {source.registry.value} \| \S", table, re.MULTILINE
        )


def test_an_archive_that_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = well_known_sources.FLAGS
    archive = tmp_path / "build/well-known" / source.name / "flag-icons-7.5.0.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"another")
    monkeypatch.setattr(well_known_sources, "_ROOT", tmp_path)
    with pytest.raises(well_known_sources.SourceChangedError, match="pin it anew"):
        next(well_known_sources.flags())
