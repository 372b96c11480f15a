"""How well a picture can be drawn from its fingerprints: from one, and from all of a listing.

Whoever holds a listing knows 256 signs of coefficients for each fingerprint. The picture drawn here
is the likeliest, under what holds of natural pictures (amplitudes fall with frequency, Field 1987),
that has coefficients of these signs and of the usual size: least squares, nothing learned. In the
drawer's favour the place of each window is given, which no fingerprint tells, and so are the
picture's mean brightness and contrast. A trained model draws better; what is measured is how much
windows add to the whole.
"""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import Report
from unspread.fingerprint import pdq
from unspread.fingerprint.windows import (
    SUBMITTED_MIN_SHARE,
    SUBMITTED_WINDOWS,
    Window,
    coefficients_of,
    table_of,
    windows_of,
)

SIDE: Final = 96
"""Of what is drawn, whatever the shape of the picture; finer than any window."""

_PRIOR: Final = 100
"""Weight of smoothness, with which windows add most on the tuning pictures."""

Drawing = NDArray[np.float64]

_STEP: Final = np.arange(1, 17)
_USUAL: Final = 1 / np.hypot(_STEP[:, None], _STEP)
"""(16, 16): the usual size of each coefficient, up to a factor."""


def measure(report: Report, files: list[bytes]) -> None:
    """Likeness of what is drawn from one fingerprint, from all, and of thumbnails."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for file in files:
        with Image.open(io.BytesIO(file)) as image:
            picture = image.convert("RGB")
        truth = np.asarray(
            picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float64
        )
        drawings = {
            "the whole": drawn(np.asarray(picture), windows=False),
            "the whole and its windows": drawn(np.asarray(picture), windows=True),
            **{f"a thumbnail of {side} x {side}": _thumbnail(truth, side) for side in (8, 16, 32)},
        }
        for what, drawing in drawings.items():
            found.setdefault(what, []).append(likeness(_levelled(drawing, truth), truth))
    for what, each in found.items():
        correlation, noise, structure = np.mean(each, axis=0)
        report.row(f"drawn from {what}: correlation", float(correlation), "of 1")
        report.row(f"drawn from {what}: PSNR", float(noise), "dB")
        report.row(f"drawn from {what}: SSIM", float(structure), "of 1")


def drawn(pixels: pdq.Pixels, *, windows: bool) -> Drawing:
    """(SIDE, SIDE): the likeliest picture, from its fingerprint and those of its windows."""
    table = table_of(pixels)
    signs = [_signs(pdq.coefficients(pdq.small_matrices(pixels, [pdq.UPRIGHT])))[0]]
    views = [(_view(0, 1), _view(0, 1))]
    if windows:
        found = windows_of(table, count=SUBMITTED_WINDOWS, min_share=SUBMITTED_MIN_SHARE)
        if found:
            signs += list(_signs(coefficients_of(table, found)[0]))
            views += [_views_of(each, table.rows, table.columns) for each in found]
    return _solved(views, signs)


def _signs(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 16, 16): what the bits of fingerprints tell, 1 above the median and -1 below."""
    bits = np.unpackbits(pdq.bits(coefficients), axis=-1)[..., ::-1]
    return bits.reshape(*coefficients.shape) * 2.0 - 1


def _views_of(window: Window, rows: int, columns: int) -> tuple[Drawing, Drawing]:
    return (
        _view((window.row - window.reach) / rows, (window.row + window.reach) / rows),
        _view((window.column - window.reach) / columns, (window.column + window.reach) / columns),
    )


def _view(start: float, end: float) -> Drawing:
    """(16, SIDE): coefficients along one axis of what lies between two places, 0..1."""
    edges = np.linspace(start, end, pdq.SIDE + 1) * SIDE
    covered = np.clip(edges[:, None] - np.arange(SIDE), 0, 1)
    means = np.diff(covered, axis=0)
    means /= means.sum(axis=1, keepdims=True)
    frequencies = np.arange(1, 17)[:, None]
    cosines = np.sqrt(2 / pdq.SIDE) * np.cos(
        np.pi / 2 / pdq.SIDE * frequencies * (2 * np.arange(pdq.SIDE) + 1)
    )
    view: Drawing = cosines @ means
    return view


def _solved(views: list[tuple[Drawing, Drawing]], signs: list[NDArray[np.float64]]) -> Drawing:
    """Conjugate gradients on the normal equations."""
    frequencies = np.arange(SIDE)
    rough = np.hypot(frequencies[:, None], frequencies) ** 2
    cosines = np.sqrt(2 / SIDE) * np.cos(
        np.pi / 2 / SIDE * frequencies[:, None] * (2 * frequencies + 1)
    )
    cosines[0] /= np.sqrt(2)

    def normal(picture: Drawing) -> Drawing:
        spectrum = cosines @ picture @ cosines.T
        total: Drawing = cosines.T @ (_PRIOR / SIDE * rough * spectrum + 1e-6 * spectrum) @ cosines
        for down, across in views:
            total = total + down.T @ (down @ picture @ across.T / _USUAL**2) @ across
        return total

    right = sum(
        (down.T @ (each / _USUAL) @ across)
        for (down, across), each in zip(views, signs, strict=True)
    )
    picture = np.zeros((SIDE, SIDE))
    residual = np.asarray(right, np.float64)
    direction, energy = residual.copy(), float((residual**2).sum())
    goal = 1e-8 * energy
    for _ in range(400):
        image = normal(direction)
        step = energy / float((direction * image).sum())
        picture = picture + step * direction
        residual = residual - step * image
        energy, before = float((residual**2).sum()), energy
        if energy < goal:
            break
        direction = residual + energy / before * direction
    return picture


def _thumbnail(truth: Drawing, side: int) -> Drawing:
    small = Image.fromarray(truth.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)


def _levelled(drawing: Drawing, truth: Drawing) -> Drawing:
    """With the mean and the contrast of the picture."""
    spread = drawing.std() or 1.0
    levelled: Drawing = (drawing - drawing.mean()) / spread * truth.std() + truth.mean()
    return np.clip(levelled, 0, 255)


def likeness(drawing: Drawing, truth: Drawing) -> tuple[float, float, float]:
    """Correlation, PSNR in dB, and SSIM (Wang et al. 2004) over squares of 8 x 8."""
    correlation = float(np.corrcoef(drawing.ravel(), truth.ravel())[0, 1])
    noise = 10 * np.log10(255**2 / max(float(((drawing - truth) ** 2).mean()), 1e-9))
    one, other = (
        np.lib.stride_tricks.sliding_window_view(each, (8, 8))[::2, ::2]
        for each in (drawing, truth)
    )
    means = [each.mean(axis=(2, 3)) for each in (one, other)]
    spreads = [each.var(axis=(2, 3)) for each in (one, other)]
    both = (one * other).mean(axis=(2, 3)) - means[0] * means[1]
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = (2 * means[0] * means[1] + first) * (2 * both + second)
    structure = structure / (means[0] ** 2 + means[1] ** 2 + first) / (sum(spreads) + second)
    return correlation, float(noise), float(structure.mean())
