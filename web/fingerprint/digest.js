/** SHA-256 and MD5 of a file of any length, in one pass and bounded memory. */

import { sha256 } from '../vendor/noble.js';
import { Md5 } from './md5.js';
import { toHex, UnreadableMediaError } from './media.js';

/** Short enough to lie between two frames of a video without its decoder waiting. */
const SLICE_BYTES = 1024 * 1024;
/** The browser's own SHA-256 is ten times faster, in a thread of its own, but wants the whole file at once. */
const MAX_WHOLE_BYTES = 64 * SLICE_BYTES;

/**
 * @param {Blob} file
 * @param {import('./media.js').Watch} watch
 * @returns {Promise<import('./media.js').Fingerprint[]>}
 */
export async function digests(file, watch) {
  const whole = file.size <= MAX_WHOLE_BYTES && crypto.subtle ? await bytesOf(file) : null;
  const sha = whole ? crypto.subtle.digest('SHA-256', whole) : sha256.create();
  const md = new Md5();
  for (let at = 0; at < file.size; at += SLICE_BYTES) {
    const slice = whole?.subarray(at, at + SLICE_BYTES) ?? (await bytesOf(file.slice(at, at + SLICE_BYTES)));
    if (!(sha instanceof Promise)) sha.update(slice);
    md.update(slice);
    watch.progress((at + SLICE_BYTES) / file.size);
  }
  const digest = sha instanceof Promise ? new Uint8Array(await sha) : sha.digest();
  return [
    { kind: 'sha256', value: toHex(digest) },
    { kind: 'md5', value: toHex(md.digest()) },
  ];
}

/** @param {Blob} blob */
async function bytesOf(blob) {
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    // A file in a cloud folder, or one that changed since it was chosen.
    throw new UnreadableMediaError('not_readable');
  }
}
