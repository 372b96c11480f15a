/**
 * What a file is, by its first bytes: names and types given by a device are often wrong.
 */

/** A file that cannot be fingerprinted; `code` chooses the words that a person reads. */
export class UnreadableMediaError extends Error {
  /** @param {Reason} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** The person stopped it. */
export class StoppedError extends Error {}

/** How a long piece of work is watched and stopped from outside. */
export class Watch {
  /** @param {(share: number) => void} report share done, 0..1 */
  constructor(report) {
    this.report = report;
    this.isStopped = false;
  }

  /**
   * @param {number} share
   * @throws {StoppedError}
   */
  progress(share) {
    if (this.isStopped) throw new StoppedError();
    this.report(Math.min(1, share));
  }

  /**
   * Works side by side, each itself reporting 0..1. If one fails the others are stopped; it is
   * thrown when all have ended, so that nothing of this file reaches into the next one's time.
   * @template T
   * @param {[number, (watch: Watch) => Promise<T>][]} works each after its share of the whole
   * @returns {Promise<T[]>}
   */
  async beside(...works) {
    const shares = works.map(() => 0);
    /** @type {{reason: any} | null} */
    let failure = null;
    const watches = works.map(
      ([weight], at) =>
        new Watch((share) => {
          shares[at] = weight * share;
          this.progress(shares.reduce((sum, each) => sum + each));
        }),
    );
    const ended = works.map(async ([, work], at) => {
      try {
        return await work(watches[at]);
      } catch (reason) {
        failure ??= { reason };
        for (const watch of watches) watch.isStopped = true;
        return undefined;
      }
    });
    const results = await Promise.all(ended);
    if (failure !== null) throw /** @type {{reason: any}} */ (failure).reason;
    return /** @type {T[]} */ (results);
  }
}

/**
 * @typedef {'empty' | 'not_media' | 'damaged' | 'too_large' | 'too_small' | 'no_decoder'
 *   | 'pixels_hidden' | 'too_old' | 'not_readable'} Reason
 * @typedef {'jpeg' | 'png' | 'gif' | 'webp' | 'bmp' | 'avif' | 'heic' | 'tiff'} PictureFormat
 * @typedef {'mp4' | 'matroska' | 'other'} VideoFormat
 * @typedef {{media: 'image', format: PictureFormat} | {media: 'video', format: VideoFormat}} Kind
 * @typedef {object} Fingerprint
 * @property {'pdq' | 'sha256' | 'md5'} kind
 * @property {string} value hex
 * @property {'whole' | 'frame' | 'window'} [part]
 * @property {number} [quality]
 * @typedef {object} MediaFingerprint everything computed from one file
 * @property {'image' | 'video'} media
 * @property {Fingerprint[]} fingerprints
 * @property {string[]} notes what the person should know, as stable words
 */

const HEAD_BYTES = 64;
const HEIC_BRANDS = ['heic', 'heix', 'heim', 'heis', 'hevc', 'hevx', 'mif1', 'msf1'];

/**
 * @param {Blob} file
 * @returns {Promise<Kind>}
 */
export async function kindOf(file) {
  if (file.size === 0) {
    // One that is gone has no size either, but cannot be read.
    await file.arrayBuffer();
    throw new UnreadableMediaError('empty');
  }
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const text = String.fromCharCode(...head);
  if (text.startsWith('\xff\xd8\xff')) return { media: 'image', format: 'jpeg' };
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return { media: 'image', format: 'png' };
  if (/^GIF8[79]a/.test(text)) return { media: 'image', format: 'gif' };
  if (/^RIFF[^]{4}WEBP/.test(text)) return { media: 'image', format: 'webp' };
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) return { media: 'image', format: 'tiff' };
  if (/^BM[^]{4}\0\0\0\0/.test(text)) return { media: 'image', format: 'bmp' };
  if (text.startsWith('\x1a\x45\xdf\xa3')) return { media: 'video', format: 'matroska' };
  if (text.slice(4, 8) === 'ftyp') {
    const length = Math.min(new DataView(head.buffer).getUint32(0), HEAD_BYTES);
    const brands = [text.slice(8, 12)];
    for (let at = 16; at + 4 <= length; at += 4) brands.push(text.slice(at, at + 4));
    if (brands.some((brand) => brand === 'avif' || brand === 'avis')) {
      return { media: 'image', format: 'avif' };
    }
    if (HEIC_BRANDS.includes(brands[0])) return { media: 'image', format: 'heic' };
    return { media: 'video', format: 'mp4' };
  }
  if (['moov', 'mdat', 'wide', 'free', 'skip'].includes(text.slice(4, 8))) {
    return { media: 'video', format: 'mp4' };
  }
  if (/^RIFF[^]{4}AVI /.test(text) || text.startsWith('FLV\x01')) {
    return { media: 'video', format: 'other' };
  }
  throw new UnreadableMediaError('not_media');
}

/**
 * @param {Uint8Array} bytes
 * @returns {string} lower-case
 */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
