/**
 * Pixels of a picture's file, decoded by the browser, and their PDQ.
 *
 * The canonical input: first frame, EXIF turn applied, colour profile ignored, alpha over white,
 * full resolution. The pixels are read back in strips, so that a 48-megapixel photo needs no
 * second copy and stays below the canvas limits of phones.
 */

import { checkPixels, withoutProfile } from './container.js';
import { toHex, UnreadableMediaError } from './media.js';
import { MIN_SIDE_PIXELS, pdqOf, PixelSampler } from './pdq.js';
import { CellSums, windowFingerprints } from './windows.js';

/** A megabyte: larger strips fall out of the processor's cache between drawing and reading. */
const STRIP_PIXELS = 1 << 18;

/**
 * @typedef {{rgba: Uint8ClampedArray | Uint8Array, width: number, height: number}} Decoded
 * Decodes what the browser cannot, or in its stead.
 * @typedef {(file: Blob) => Promise<Decoded>} Decoder
 * @typedef {Partial<Record<import('./media.js').PictureFormat, Decoder>>} Decoders
 */

/**
 * A part of the upright picture, in shares of its sides: 0..1.
 * @typedef {{left: number, top: number, right: number, bottom: number}} Part
 */

/** @type {Part} */
const WHOLE = { left: 0, top: 0, right: 1, bottom: 1 };

/**
 * @param {Blob} file
 * @param {import('./media.js').PictureFormat} format
 * @param {Decoders} decoders used where the browser has none, or hides pixels
 * @param {Part} part
 * @param {() => Promise<void>} whileDecoding other work: browsers decode in a thread of their own
 * @returns {Promise<import('./media.js').Fingerprint[]>}
 */
export async function pictureFingerprints(file, format, decoders, part = WHOLE, whileDecoding = async () => {}) {
  const { blob, pixels } = await withoutProfile(file, format);
  checkPixels(pixels);
  const decoding = decode(blob, format, decoders);
  // Both end before anything is said of this file: nothing of it reaches into the next one's time.
  const [decoded, other] = await Promise.allSettled([decoding, whileDecoding()]);
  if (decoded.status === 'rejected') throw decoded.reason;
  if (other.status === 'rejected') throw other.reason;
  const { sampler, cells } = read(decoded.value, part, format !== 'avif');
  const whole = fingerprintOf(pdqOf(sampler.matrix()), 'whole');
  return [whole, ...windowFingerprints(cells).map((window) => fingerprintOf(window, 'window'))];
}

/**
 * @param {{hash: Uint8Array, quality: number}} pdq
 * @param {'whole' | 'window'} part
 * @returns {import('./media.js').Fingerprint}
 */
function fingerprintOf({ hash, quality }, part) {
  return { kind: 'pdq', value: toHex(hash), part, quality };
}

/** What is kept of the pixels that stream by. */
class Reading {
  /**
   * @param {number} width
   * @param {number} height
   */
  constructor(width, height) {
    this.sampler = new PixelSampler(width, height);
    this.cells = new CellSums(width, height);
    this.nextRow = 0;
  }

  /**
   * @param {Uint32Array} pixels
   * @param {number} first pixel of the next row
   */
  addRow(pixels, first) {
    this.sampler.addRow(pixels, first, this.cells.rowOf(this.nextRow++), this.cells.side);
  }
}

/** Formats whose colour profiles `withoutProfile` cuts out: there is nothing left to convert by. */
const WITHOUT_PROFILE = ['jpeg', 'png', 'webp'];

/**
 * @param {Blob} blob
 * @param {import('./media.js').PictureFormat} format
 * @param {Decoders} decoders
 * @returns {Promise<ImageBitmap | Decoded>}
 */
async function decode(blob, format, decoders) {
  const decoder = decoders[format];
  if (decoder) return decoder(blob);
  if (!canvasTellsTheTruth()) throw new UnreadableMediaError('pixels_hidden');
  try {
    return await createImageBitmap(blob, {
      // To ignore what is not there costs Chromium a third more.
      colorSpaceConversion: WITHOUT_PROFILE.includes(format) ? 'default' : 'none',
      premultiplyAlpha: 'default',
    });
  } catch {
    const isForeign = format === 'heic' || format === 'avif' || format === 'tiff';
    throw new UnreadableMediaError(isForeign ? 'no_decoder' : 'damaged');
  }
}

/**
 * @param {ImageBitmap | Decoded} decoded
 * @param {Part} part
 * @param {boolean} blends see `readBitmap`
 * @returns {Reading}
 */
function read(decoded, part, blends) {
  if ('rgba' in decoded) {
    const { x, y, width, height } = boxOf(part, decoded.width, decoded.height);
    const reading = new Reading(width, height);
    const pixels = words(decoded.rgba);
    for (let row = y; row < y + height; row++) reading.addRow(pixels, row * decoded.width + x);
    return reading;
  }
  try {
    return readBitmap(decoded, part, blends);
  } finally {
    decoded.close();
  }
}

/**
 * @param {ImageBitmap} bitmap
 * @param {Part} part
 * @param {boolean} blends whether the browser reads transparency as it is written: Chromium
 *   stretches that of AVIF, so that what shines through would get another fingerprint
 * @returns {Reading}
 */
function readBitmap(bitmap, part, blends) {
  const { x, y, width, height } = boxOf(part, bitmap.width, bitmap.height);
  const reading = new Reading(width, height);
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = readable(canvas);
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillStyle = '#fff';
    if (blends) context.fillRect(0, 0, width, count);
    else context.clearRect(0, 0, width, count);
    context.drawImage(bitmap, x, y + top, width, count, 0, 0, width, count);
    const { data } = context.getImageData(0, 0, width, count);
    const pixels = words(data);
    if (!blends && pixels.some((pixel) => pixel >>> 24 < 255)) throw new UnreadableMediaError('no_decoder');
    for (let row = 0; row < count; row++) reading.addRow(pixels, row * width);
  }
  return reading;
}

/** @param {Uint8ClampedArray | Uint8Array} rgba */
function words(rgba) {
  return new Uint32Array(rgba.buffer, rgba.byteOffset, rgba.length >> 2);
}

/** @param {OffscreenCanvas} canvas */
function readable(canvas) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (context === null) throw new UnreadableMediaError('too_old');
  return context;
}

/**
 * @param {Part} part
 * @param {number} width of the whole picture, in pixels
 * @param {number} height
 */
function boxOf(part, width, height) {
  checkPixels(width * height);
  const x = Math.round(part.left * width);
  const y = Math.round(part.top * height);
  const box = { x, y, width: Math.round(part.right * width) - x, height: Math.round(part.bottom * height) - y };
  if (Math.min(box.width, box.height) < MIN_SIDE_PIXELS) throw new UnreadableMediaError('too_small');
  return box;
}

/** @type {boolean | undefined} */
let isTruthful;

/**
 * The known-answer test: some browsers falsify what a page reads from a canvas (Tor Browser
 * with random bytes), so that a wrong fingerprint would be sent without anybody noticing.
 */
export function canvasTellsTheTruth() {
  if (isTruthful === undefined) {
    if (typeof OffscreenCanvas === 'undefined') throw new UnreadableMediaError('too_old');
    const side = 64;
    const known = new ImageData(side, side);
    for (let at = 0, state = 1; at < known.data.length; at++) {
      state = (state * 48271) % 0x7fffffff;
      known.data[at] = at % 4 === 3 ? 255 : state & 255;
    }
    const context = readable(new OffscreenCanvas(side, side));
    context.putImageData(known, 0, 0);
    const read = context.getImageData(0, 0, side, side).data;
    isTruthful = known.data.every((value, at) => value === read[at]);
  }
  return isTruthful;
}
