"""Files of pictures to pixels: the canonical rule, under limits, from an allow-list of formats.

The rule (docs/protocol/fingerprints.md): first frame; EXIF or irot orientation; colour profiles
and gamma ignored; alpha over white; 8 bits a channel at full resolution. Headers are read by
Pillow, and its answer is judged by our own limits, before any decoder gets to work: faster ones
spend seconds and gigabytes on a header that lies.

For files from strangers, call through `unspread.fingerprint.confined`.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile, open_heif

from unspread.errors import UnreadableMediaError
from unspread.fingerprint.files import HEAD_BYTES, Format, Limits, sniff
from unspread.fingerprint.pdq import UPRIGHT, Orientation, Pixels
from unspread.fingerprint.png import decode_png


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded pixels as they are stored, and how to turn them upright."""

    pixels: Pixels
    orientation: Orientation
    decoder: str
    """Which path was taken: `pillow` is the canonical one, others say how they may differ."""

    @property
    def height(self) -> int:
        """Once upright."""
        return self.orientation.size(*self.pixels.shape[:2])[0]

    @property
    def width(self) -> int:
        """Once upright."""
        return self.orientation.size(*self.pixels.shape[:2])[1]


_READERS: Final[dict[Format, Callable[[BytesIO], ImageFile]]] = {
    Format.JPEG: JpegImageFile,
    Format.PNG: PngImageFile,
    Format.GIF: GifImageFile,
    Format.WEBP: WebPImageFile,
    Format.BMP: BmpImageFile,
    Format.TIFF: TiffImageFile,
    Format.AVIF: AvifImageFile,
    Format.HEIC: HeifImageFile,
}

_PILLOW_RAISES: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)
"""What its readers raise on damaged files; `Image.open` itself expects the first few."""

_ORIENTATION_TAG: Final = 0x0112
_SHORT: Final = 3
"""Type of 16-bit numbers (TIFF 6.0, section 2)."""

DAMAGED: Final = "the picture is damaged or incomplete; try to open it and save it again"


def decode(data: bytes, limits: Limits, *, luma: bool = False) -> Picture:
    """The pixels of a picture by the canonical rule, from the fastest decoder that agrees with it.

    With `luma` a JPEG in colour gives its luma plane at full size, faster still: at most 2 bits
    from the canonical fingerprint, as `decoder` says. All else lies at 0.

    Raises:
        UnreadableMediaError: if it is not a whole picture within the limits.
    """
    image = _open(data, limits)
    orientation = _orientation(image)
    try:
        if image.format == "JPEG" and image.mode == "RGB" and luma:
            return Picture(_opaque(simplejpeg.decode_jpeg(data, "GRAY")), orientation, "luma")
        if image.format == "JPEG" and image.mode in {"L", "RGB"}:
            colours = "RGB" if image.mode == "RGB" else "GRAY"
            pixels = _opaque(simplejpeg.decode_jpeg(data, colours))
            return Picture(pixels, orientation, "libjpeg-turbo")
        if image.format == "WEBP" and not getattr(image, "is_animated", False):
            return Picture(_opaque(imagecodecs.webp_decode(data)), orientation, "libwebp")
        if image.format == "HEIF" and image.mode == "RGB":
            return Picture(np.asarray(open_heif(BytesIO(data))), orientation, "libheif")
        if image.format == "PNG" and image.mode in {"L", "RGB", "RGBA"}:
            return Picture(_opaque(decode_png(data)), orientation, "libdeflate")
    except MemoryError:
        raise UnreadableMediaError("the picture is too large for this machine") from None
    except _PILLOW_RAISES:
        # The canonical decoder has the last word on what is damaged.
        pass
    return decode_canonical(data, limits)


def decode_canonical(data: bytes, limits: Limits) -> Picture:
    """The same by Pillow, which is what the canonical rule means where decoders differ.

    Raises:
        UnreadableMediaError: if it is not a whole picture within the limits.
    """
    image = _open(data, limits)
    orientation = _orientation(image)
    try:
        if image.format == "PNG" and image.mode != "P" and "transparency" in image.info:
            # Pillow compares the one transparent colour with samples of another depth.
            pixels = _blended(imagecodecs.png_decode(data))
        else:
            image.load()
            pixels = _canonical(image)
    except MemoryError:
        raise UnreadableMediaError("the picture is too large for this machine") from None
    except _PILLOW_RAISES as error:
        raise UnreadableMediaError(DAMAGED) from error
    return Picture(pixels, orientation, "pillow")


def _open(data: bytes, limits: Limits) -> ImageFile:
    """The picture's header, within the limits; nothing of its pixels is decoded yet."""
    kind = sniff(data[:HEAD_BYTES])
    if kind.is_video:
        raise UnreadableMediaError("this is a video, not a picture")
    if len(data) > limits.max_picture_bytes:
        raise UnreadableMediaError("the file is too large for a picture")
    try:
        image = _READERS[kind](BytesIO(_still(data) if kind is Format.AVIF else data))
    except MemoryError:
        raise UnreadableMediaError("the picture is too large for this machine") from None
    except _PILLOW_RAISES as error:
        raise UnreadableMediaError(DAMAGED) from error
    if image.width * image.height > limits.max_pixels:
        raise UnreadableMediaError(
            f"the picture has more than {limits.max_pixels // 1_000_000} million pixels; "
            "make it smaller and try again"
        )
    return image


def _still(avif: bytes) -> bytes:
    """An animated AVIF as the still picture that it says it is, too.

    Chromium decodes frames of an animation with the wrong range, and the picture rightly.
    """
    is_both = avif[8:12] == b"avis" and b"avif" in avif[16 : int.from_bytes(avif[:4])]
    return avif[:8] + b"avif" + avif[12:] if is_both else avif


def _orientation(image: ImageFile) -> Orientation:
    """As EXIF says. XMP is not asked, as no browser does; TIFF and HEIC come upright already."""
    raw = image.info.get("exif")
    if image.format in {"TIFF", "HEIF"} or not isinstance(raw, bytes):
        return UPRIGHT
    try:
        return Orientation.from_exif(_tagged_orientation(raw.removeprefix(b"Exif\0\0")))
    except struct.error:
        # Damaged metadata is no reason to leave a picture unprotected: browsers show it as stored.
        return UPRIGHT


def _tagged_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory, as browsers read it: one SHORT and nothing else."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for entry in range(count):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG:
            return int(value) if (kind, values) == (_SHORT, 1) else 1
    return 1


def _canonical(image: ImageFile) -> Pixels:
    """8-bit luma or RGB of a loaded picture, alpha over white."""
    if isinstance(image, GifImageFile) and image.dispose_extent:
        # What the first frame leaves out of the canvas is transparent, not of the first colour.
        left, top, right, bottom = image.dispose_extent
        frame = _flat(image)
        canvas = np.full_like(frame, 255)
        canvas[top:bottom, left:right] = frame[top:bottom, left:right]
        return canvas
    return _flat(image)


def _flat(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        # 16-bit grey: the high byte, as Pillow itself takes it of 16-bit colour.
        return (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    if image.mode not in {"L", "RGB"}:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.asarray(image)


def _blended(pixels: NDArray[Any]) -> Pixels:
    """Of samples with alpha, of 8 or 16 bits."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return _over_white(Image.fromarray(pixels).convert("RGBA"))


def _over_white(above: Image.Image) -> Pixels:
    white = Image.new("RGBA", above.size, "white")
    return np.asarray(Image.alpha_composite(white, above).convert("RGB"))


def _opaque(pixels: Pixels) -> Pixels:
    """The same pixels without an alpha channel that hides nothing."""
    if pixels.ndim == 3 and pixels.shape[2] not in {1, 3}:
        if pixels[..., -1].min() < 255:
            raise ValueError("transparent: left to the canonical decoder")
        pixels = np.ascontiguousarray(pixels[..., :-1])
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
