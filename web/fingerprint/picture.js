/**
 * Pixels of a picture's file, decoded by the browser, and their PDQ.
 *
 * The canonical input: first frame, EXIF turn applied, colour profile ignored, alpha over white,
 * full resolution. The pixels are read back in strips, so that a 48-megapixel photo needs no
 * second copy and stays below the canvas limits of phones.
 */

import { checkPixels, withoutProfile } from './container.js';
import { toHex, UnreadableMediaError } from './media.js';
import { MIN_SIDE_PIXELS, ORIENTATIONS, UPRIGHT, pdqOf } from './pdq.js';
import { PixelSampler } from './pixels.js';
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
  const { blob, pixels, orientation } = await withoutProfile(file, format);
  checkPixels(pixels);
  const decoding = decode(blob, format, decoders);
  // Both end before anything is said of this file: nothing of it reaches into the next one's time.
  const [decoded, other] = await Promise.allSettled([decoding, whileDecoding()]);
  if (decoded.status === 'rejected') throw decoded.reason;
  if (other.status === 'rejected') throw other.reason;
  const { sampler, cells } = await read(decoded.value, part, orientation);
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
 * @param {Orientation} orientation in which the decoded pixels are to be seen
 * @returns {Promise<Reading>}
 */
async function read(decoded, part, orientation) {
  const { width, height } = decoded;
  const box = orientation.transposes ? boxOf(part, height, width) : boxOf(part, width, height);
  if ('rgba' in decoded) {
    const reading = begun(box);
    const first = box.y * decoded.width + box.x;
    reading.sampler.addRows(words(decoded.rgba), first, decoded.width, box.height);
    return reading;
  }
  try {
    if (orientation !== UPRIGHT) {
      const stored = storedBox(box, { codedWidth: width, codedHeight: height }, orientation);
      return readCanvas(decoded, stored, orientation);
    }
    return (await readFrame(decoded, box)) ?? readCanvas(decoded, box);
  } finally {
    decoded.close();
  }
}

/**
 * What is kept of the pixels that stream by.
 * @typedef {{sampler: PixelSampler, cells: CellSums}} Reading
 */

/**
 * @param {Box} box
 * @param {import('./pixels.js').Order} [order]
 * @param {Orientation} [orientation]
 * @returns {Reading}
 */
function begun({ width, height }, order, orientation) {
  const cells = new CellSums(width, height, orientation);
  return { sampler: new PixelSampler(width, height, cells, order), cells };
}

/** @type {Record<string, import('./pixels.js').Order>} of formats that cannot be translucent */
const OPAQUE_ORDERS = { RGBX: 'rgb', BGRX: 'bgr' };

/** @typedef {import('./pdq.js').Orientation} Orientation */

/** Rows of a picture that are read both ways. */
const CONTROL_ROWS = 48;

/**
 * An opaque picture's pixels, from a frame of video made of it: a tenth of the canvas's time, and
 * of a turned photo less still. No rule says whether a frame keeps the turn of EXIF, and
 * Chromium's does not; so some rows are read through the canvas too, and say how it is turned.
 * Where not exactly one turn agrees in every byte, the canvas has to give all pixels.
 * @param {ImageBitmap} bitmap
 * @param {Box} box
 * @returns {Promise<Reading | null>} null if it is not known to be that of the canvas
 */
async function readFrame(bitmap, box) {
  const frame = frameOf(bitmap);
  if (frame === null) return null;
  try {
    const order = OPAQUE_ORDERS[frame.format ?? ''];
    const orientation = order && (await orientationOf(frame, bitmap, order));
    if (!orientation) return null;
    const stored = storedBox(box, frame, orientation);
    const reading = begun(stored, order, orientation);
    const { x, y, width, height } = stored;
    const rows = stripRows(stored, reading.cells);
    const strip = new Uint8Array(4 * width * rows);
    for (let top = 0; top < height; top += rows) {
      const count = Math.min(rows, height - top);
      const [{ offset, stride }] = await frame.copyTo(strip, { rect: { x, y: y + top, width, height: count } });
      if (offset !== 0 || stride !== 4 * width) return null;
      reading.sampler.addRows(words(strip), 0, width, count);
    }
    return reading;
  } finally {
    frame.close();
  }
}

/**
 * @param {VideoFrame} frame
 * @param {ImageBitmap} bitmap the same picture, upright
 * @param {import('./pixels.js').Order} order of the frame's bytes
 * @returns {Promise<Orientation | null>} null if not exactly one agrees
 */
async function orientationOf(frame, bitmap, order) {
  const { width, height } = bitmap;
  const { codedWidth, codedHeight } = frame;
  let possible = ORIENTATIONS.filter(({ transposes }) =>
    transposes ? codedWidth === height && codedHeight === width : codedWidth === width && codedHeight === height,
  );
  // Drawn below one another and read at once: each reading waits for what was drawn.
  const context = readable(new OffscreenCanvas(width, CONTROL_ROWS));
  const rows = Array.from({ length: CONTROL_ROWS }, (_, step) => Math.floor(((step + 0.5) * height) / CONTROL_ROWS));
  for (const [step, y] of rows.entries()) context.drawImage(bitmap, 0, y, width, 1, 0, step, width, 1);
  const controls = context.getImageData(0, 0, width, CONTROL_ROWS).data;
  const line = new Uint8Array(4 * width);
  for (const [step, y] of rows.entries()) {
    const control = controls.subarray(4 * width * step, 4 * width * (step + 1));
    const agreeing = [];
    for (const orientation of possible) {
      await frame.copyTo(line, { rect: storedBox({ x: 0, y, width, height: 1 }, frame, orientation) });
      const isReversed = orientation.transposes ? orientation.flipsRows : orientation.flipsColumns;
      if (isSameLine(line, control, order, isReversed)) agreeing.push(orientation);
    }
    possible = agreeing;
  }
  return possible.length === 1 ? possible[0] : null;
}

/**
 * @param {Box} box of the upright picture
 * @param {{codedWidth: number, codedHeight: number}} frame
 * @param {Orientation} orientation
 * @returns {Box} the same as stored
 */
function storedBox(box, { codedWidth, codedHeight }, { flipsRows, flipsColumns, transposes }) {
  const turned = { x: box.y, y: box.x, width: box.height, height: box.width };
  const { x, y, width, height } = transposes ? turned : box;
  return {
    x: flipsColumns ? codedWidth - x - width : x,
    y: flipsRows ? codedHeight - y - height : y,
    width,
    height,
  };
}

/** @param {ImageBitmap} bitmap */
function frameOf(bitmap) {
  if (typeof VideoFrame === 'undefined') return null;
  try {
    return new VideoFrame(bitmap, { timestamp: 0 });
  } catch {
    // Not every browser that has frames makes them of pictures.
    return null;
  }
}

/**
 * @param {Uint8Array} line of a frame
 * @param {Uint8ClampedArray} control red, green, blue and alpha
 * @param {import('./pixels.js').Order} order of the frame's bytes
 * @param {boolean} isReversed whether the line runs the other way
 */
function isSameLine(line, control, order, isReversed) {
  const [red, blue] = order === 'rgb' ? [0, 2] : [2, 0];
  for (let at = 0; at < control.length; at += 4) {
    const from = isReversed ? control.length - 4 - at : at;
    const isSame = line[from + red] === control[at] && line[from + blue] === control[at + 2];
    if (!isSame || line[from + 1] !== control[at + 1]) return false;
  }
  return true;
}

/**
 * @param {ImageBitmap} bitmap
 * @param {Box} box
 * @param {Orientation} [orientation]
 * @returns {Reading}
 */
function readCanvas(bitmap, box, orientation) {
  const { x, y, width, height } = box;
  const reading = begun(box, undefined, orientation);
  const rows = stripRows(box, reading.cells);
  const context = readable(new OffscreenCanvas(width, rows));
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, -x, -y - top);
    reading.sampler.addRows(words(context.getImageData(0, 0, width, count).data), 0, width, count);
  }
  return reading;
}

/**
 * Whole rows of cells, as they are added up.
 * @param {Box} box
 * @param {CellSums} cells
 */
function stripRows({ width, height }, { side }) {
  return Math.min(height, Math.max(1, Math.floor(STRIP_PIXELS / width / side)) * side);
}

/** @param {Uint8ClampedArray | Uint8Array} rgba */
function words(rgba) {
  return new Int32Array(rgba.buffer, rgba.byteOffset, rgba.length >> 2);
}

/** @param {OffscreenCanvas} canvas */
function readable(canvas) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (context === null) throw new UnreadableMediaError('too_old');
  return context;
}

/** @typedef {{x: number, y: number, width: number, height: number}} Box in pixels */

/**
 * @param {Part} part
 * @param {number} width of the whole picture, in pixels
 * @param {number} height
 * @returns {Box}
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
