/**
 * The parts of a picture's file that the decoder must not see, and its size before it is decoded.
 *
 * Colour profiles are cut out, because browsers differ in whether they apply them and the
 * canonical input ignores them (docs/protocol/fingerprints.md); so are the animation of a PNG, of
 * which its default image counts, and the turn of a PNG or WebP, which is applied here instead.
 * Nothing is copied: the answer is a Blob made of slices of the file.
 */

import { UnreadableMediaError } from './media.js';
import { UPRIGHT } from './pdq.js';

/** Above this no phone can hold the decoded pixels. */
export const MAX_PIXELS = 200_000_000;

const WALK_BYTES = 1 << 18;
const MAX_BOX_BYTES = 1 << 24;
/** What an item of AVIF is called that says how transparent another is (ISO/IEC 23000-22, 7.3.5.2). */
const ALPHA_PLANES = ['urn:mpeg:mpegB:cicp:systems:auxiliary:alpha', 'urn:mpeg:hevc:2015:auxid:1'];
const PNG_COLOUR = ['iCCP', 'gAMA', 'cHRM', 'sRGB', 'cICP', 'mDCV', 'cLLI'];
const PNG_ANIMATION = ['acTL', 'fcTL', 'fdAT'];

/** How to turn stored pixels upright, by EXIF's tag 0x0112 (EXIF 2.32, 4.6.4). */
const BY_EXIF = [
  UPRIGHT,
  UPRIGHT,
  { flipsRows: false, flipsColumns: true, transposes: false },
  { flipsRows: true, flipsColumns: true, transposes: false },
  { flipsRows: true, flipsColumns: false, transposes: false },
  { flipsRows: false, flipsColumns: false, transposes: true },
  { flipsRows: true, flipsColumns: false, transposes: true },
  { flipsRows: true, flipsColumns: true, transposes: true },
  { flipsRows: false, flipsColumns: true, transposes: true },
];
const ORIENTATION_TAG = 0x0112;
const SHORT = 3;
const LITTLE_ENDIAN = 0x49492a00;
const BIG_ENDIAN = 0x4d4d002a;

/**
 * @typedef {object} Container
 * @property {Blob} blob the file without what is applied or ignored here
 * @property {number} pixels by its header, 0 if unknown
 * @property {import('./pdq.js').Orientation} orientation in which the pixels of `blob` are to be seen
 */

/**
 * @param {Blob} file
 * @param {import('./media.js').PictureFormat} format
 * @returns {Promise<Container>}
 */
export async function withoutProfile(file, format) {
  if (format === 'jpeg') return { ...(await jpeg(file)), orientation: UPRIGHT };
  if (format === 'png') return png(file);
  if (format === 'webp') return webp(file);
  if (format === 'avif' && (await hasAlphaPlane(file))) throw new UnreadableMediaError('no_decoder');
  if (format === 'avif') return { blob: await still(file), pixels: 0, orientation: UPRIGHT };
  if (format === 'gif' || format === 'bmp') {
    return { blob: file, pixels: await plain(file, format), orientation: UPRIGHT };
  }
  return { blob: file, pixels: 0, orientation: UPRIGHT };
}

/**
 * Refuses what would exhaust the device, before it is decoded.
 * @param {number} pixels
 */
export function checkPixels(pixels) {
  if (pixels > MAX_PIXELS) throw new UnreadableMediaError('too_large');
}

/** Reads a file in windows, so that walking its parts loads little of it. */
class Reader {
  /** @param {Blob} file */
  constructor(file) {
    this.file = file;
    this.from = 0;
    this.view = new DataView(new ArrayBuffer(0));
  }

  /**
   * @param {number} at
   * @param {number} length
   * @returns {Promise<DataView | null>} null past the end
   */
  async at(at, length) {
    if (at + length > this.file.size) return null;
    if (at < this.from || at + length > this.from + this.view.byteLength) {
      this.view = new DataView(await this.file.slice(at, at + Math.max(length, WALK_BYTES)).arrayBuffer());
      this.from = at;
    }
    return new DataView(this.view.buffer, at - this.from, length);
  }
}

/**
 * @param {DataView} view
 * @param {number} at
 * @param {number} length
 */
function text(view, at, length) {
  let characters = '';
  for (let each = 0; each < length; each++) characters += String.fromCharCode(view.getUint8(at + each));
  return characters;
}

/** @param {Blob} file */
async function jpeg(file) {
  const reader = new Reader(file);
  /** @type {Blob[]} */
  const kept = [];
  let keptTo = 0;
  let pixels = 0;
  let at = 2;
  for (;;) {
    const head = await reader.at(at, 4);
    if (head === null || head.getUint8(0) !== 0xff) throw new UnreadableMediaError('damaged');
    const marker = head.getUint8(1);
    if (marker === 0xff || (marker >= 0xd0 && marker <= 0xd8) || marker === 0x01) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    if (marker === 0xda || marker === 0xd9) break;
    const length = head.getUint16(2) + 2;
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) {
      const frame = await reader.at(at, 9);
      if (frame !== null) pixels = frame.getUint16(5) * frame.getUint16(7);
    }
    if (marker === 0xe2) {
      const name = await reader.at(at + 4, 12);
      if (name !== null && text(name, 0, 11) === 'ICC_PROFILE') {
        kept.push(file.slice(keptTo, at));
        keptTo = at + length;
      }
    }
    at += length;
  }
  if (!(await endsAfter(file, at))) throw new UnreadableMediaError('damaged');
  if (kept.length === 0) return { blob: file.slice(0, file.size, 'image/jpeg'), pixels };
  kept.push(file.slice(keptTo));
  return { blob: new Blob(kept, { type: 'image/jpeg' }), pixels };
}

/**
 * Whether an end marker stands after the start of the scan: decoders paint a cut-off picture
 * grey below the cut, and its fingerprint would be that of another picture.
 * @param {Blob} file
 * @param {number} scanAt
 */
async function endsAfter(file, scanAt) {
  for (let end = file.size; end > scanAt; end -= WALK_BYTES - 1) {
    const from = Math.max(scanAt, end - WALK_BYTES);
    const bytes = new Uint8Array(await file.slice(from, end).arrayBuffer());
    for (let at = bytes.length - 2; at >= 0; at--) {
      if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
    }
  }
  return false;
}

/** @param {Blob} file */
async function png(file) {
  const reader = new Reader(file);
  /** @type {Blob[]} */
  const kept = [];
  let keptTo = 0;
  let pixels = 0;
  let hasPixels = false;
  let orientation = UPRIGHT;
  for (let at = 8; ; ) {
    const head = await reader.at(at, 12);
    if (head === null) throw new UnreadableMediaError('damaged');
    const name = text(head, 4, 4);
    const length = head.getUint32(0) + 12;
    if (name === 'IHDR') {
      const header = await reader.at(at + 8, 8);
      if (header !== null) pixels = header.getUint32(0) * header.getUint32(4);
    }
    hasPixels ||= name === 'IDAT';
    if (name === 'eXIf' && !hasPixels) orientation = await orientationIn(file.slice(at + 8, at + length - 4));
    if (name === 'eXIf' || PNG_COLOUR.includes(name) || PNG_ANIMATION.includes(name)) {
      kept.push(file.slice(keptTo, at));
      keptTo = at + length;
    }
    if (name === 'IEND') break;
    at += length;
  }
  kept.push(file.slice(keptTo));
  return { blob: new Blob(kept, { type: 'image/png' }), pixels, orientation };
}

/** @param {Blob} file */
async function webp(file) {
  const reader = new Reader(file);
  const start = await reader.at(0, 12);
  if (start === null || start.getUint32(4, true) + 8 > file.size) {
    throw new UnreadableMediaError('damaged');
  }
  /** @type {BlobPart[]} */
  const kept = [];
  let pixels = 0;
  let orientation = UPRIGHT;
  let saysExif = false;
  for (let at = 12; at + 8 <= file.size; ) {
    const head = await reader.at(at, Math.min(18, file.size - at));
    if (head === null) break;
    const name = text(head, 0, 4);
    const length = 8 + head.getUint32(4, true) + (head.getUint32(4, true) & 1);
    const part = file.slice(at, at + length);
    if (name === 'VP8X' && head.byteLength === 18) {
      const canvas = await reader.at(at + 8, 10);
      if (canvas !== null) {
        const width = 1 + canvas.getUint8(4) + canvas.getUint8(5) * 256 + canvas.getUint8(6) * 65536;
        const height = 1 + canvas.getUint8(7) + canvas.getUint8(8) * 256 + canvas.getUint8(9) * 65536;
        pixels = width * height;
        const header = new Uint8Array(await part.arrayBuffer());
        saysExif = (header[8] & 0x08) > 0;
        header[8] &= ~0x28; // says that a profile and EXIF follow
        kept.push(header);
      }
    } else if (name === 'EXIF') {
      if (saysExif) orientation = await orientationIn(part.slice(8));
      saysExif = false;
    } else if (name !== 'ICCP') {
      kept.push(part);
    }
    at += length;
  }
  const body = new Blob(kept);
  const riff = new DataView(new ArrayBuffer(12));
  riff.setUint32(0, 0x52494646);
  riff.setUint32(4, body.size + 4, true);
  riff.setUint32(8, 0x57454250);
  return { blob: new Blob([riff.buffer, body], { type: 'image/webp' }), pixels, orientation };
}

/**
 * @param {Blob} exif
 * @returns {Promise<import('./pdq.js').Orientation>} upright if it does not say, or is damaged
 */
async function orientationIn(exif) {
  const bytes = new Uint8Array(await exif.arrayBuffer());
  const isNamed = String.fromCharCode(...bytes.subarray(0, 6)) === 'Exif\0\0';
  const tiff = new DataView(bytes.buffer, isNamed ? 6 : 0);
  try {
    const order = tiff.getUint32(0);
    if (order !== LITTLE_ENDIAN && order !== BIG_ENDIAN) return UPRIGHT;
    const isLittle = order === LITTLE_ENDIAN;
    const directory = tiff.getUint32(4, isLittle);
    const count = tiff.getUint16(directory, isLittle);
    for (let at = directory + 2; at < directory + 2 + 12 * count; at += 12) {
      if (tiff.getUint16(at, isLittle) !== ORIENTATION_TAG) continue;
      const isOneShort = tiff.getUint16(at + 2, isLittle) === SHORT && tiff.getUint32(at + 4, isLittle) === 1;
      return (isOneShort && BY_EXIF[tiff.getUint16(at + 8, isLittle)]) || UPRIGHT;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return UPRIGHT;
}

/**
 * Whether an AVIF has an alpha plane, which Chromium stretches as if it were of limited range: what
 * shines through would get another fingerprint, and what hardly does comes out as opaque.
 * @param {Blob} file
 */
async function hasAlphaPlane(file) {
  const reader = new Reader(file);
  for (let at = 0; ; ) {
    const head = await reader.at(at, 16);
    if (head === null) return false;
    const size = head.getUint32(0);
    const length = size === 1 ? Number(head.getBigUint64(8)) : size || file.size - at;
    if (length < 8) throw new UnreadableMediaError('damaged');
    if (['meta', 'moov'].includes(text(head, 4, 4))) {
      if (length > MAX_BOX_BYTES) throw new UnreadableMediaError('damaged');
      const box = await file.slice(at, at + length).arrayBuffer();
      const written = new TextDecoder('latin1').decode(box);
      if (ALPHA_PLANES.some((name) => written.includes(name))) return true;
    }
    at += length;
  }
}

/**
 * An animated AVIF as the still picture that it says it is, too: Chromium decodes the frames of an
 * animation as if they were of limited range.
 * @param {Blob} file
 */
async function still(file) {
  const start = await file.slice(0, 4).arrayBuffer();
  const length = new DataView(start).getUint32(0);
  const brands = new TextDecoder('latin1').decode(await file.slice(8, Math.min(length, 4096)).arrayBuffer());
  if (!brands.startsWith('avis')) return file;
  if (!brands.includes('avif')) throw new UnreadableMediaError('no_decoder');
  return new Blob([file.slice(0, 8), 'avif', file.slice(12)], { type: 'image/avif' });
}

/**
 * @param {Blob} file
 * @param {'gif' | 'bmp'} format
 */
async function plain(file, format) {
  const bytes = await file.slice(0, 26).arrayBuffer();
  if (bytes.byteLength < 26) throw new UnreadableMediaError('damaged');
  const view = new DataView(bytes);
  if (format === 'gif') return view.getUint16(6, true) * view.getUint16(8, true);
  return view.getInt32(18, true) * Math.abs(view.getInt32(22, true));
}
