"""Benign pictures drawn from a seed: hills, sky, sun and grain. Never a picture of a person."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def landscape(seed: int, width: int = 1200, height: int = 900) -> Image.Image:
    """A picture with the statistics of a photo; another seed gives an unrelated one.

    Two seeds differ by about 128 bits of PDQ, and the quality is 100.
    """
    random = np.random.default_rng(seed)
    luma = _clouds(random, width, height)
    across = np.linspace(0, 1, width)
    down = np.linspace(0, 1, height)[:, np.newaxis]
    for ridge in range(4):
        level = 0.35 + 0.15 * ridge + 0.12 * _ridge(random, across)
        luma = np.where(down > level, 0.75 * luma + random.uniform(-0.5, 0.5), luma)
    sun = ((across - random.uniform(0.1, 0.9)) * width / height) ** 2
    sun = sun + (down - random.uniform(0.1, 0.4)) ** 2
    luma = np.where(sun < random.uniform(0.002, 0.02), 1.5, luma)
    tint = random.uniform(0.7, 1.0, 3)
    grain = random.normal(0, 0.02, (height, width, 1))
    rgb = (luma[:, :, np.newaxis] * tint + grain) * 48 + 128
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8), "RGB")


def encoded(picture: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file: `form` and `options` as Pillow's `save` takes them."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _clouds(random: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """1/f noise, as natural scenes have (Field 1987), mean 0 and standard deviation 1."""
    across = np.fft.rfftfreq(width)[np.newaxis, :]
    down = np.fft.fftfreq(height)[:, np.newaxis]
    frequency = np.hypot(across * width, down * height)
    frequency[0, 0] = np.inf
    phases = np.exp(2j * np.pi * random.random(frequency.shape))
    clouds = np.fft.irfft2(phases / frequency**1.2, s=(height, width))
    normalised: NDArray[np.float64] = (clouds - clouds.mean()) / clouds.std()
    return normalised


def _ridge(random: np.random.Generator, across: NDArray[np.float64]) -> NDArray[np.float64]:
    waves = [
        random.uniform(-1, 1) / step * np.sin(2 * np.pi * (step * across + random.random()))
        for step in range(1, 9)
    ]
    summed: NDArray[np.float64] = np.sum(waves, axis=0)
    return summed
