/** SHA-256 and MD5 of a file of any length, in one pass and constant memory. */

import { md5, sha256 } from '../vendor/noble.js';
import { toHex, UnreadableMediaError } from './media.js';

const SLICE_BYTES = 4 * 1024 * 1024;

/**
 * @param {Blob} file
 * @param {import('./media.js').Watch} watch
 * @returns {Promise<import('./media.js').Fingerprint[]>}
 */
export async function digests(file, watch) {
  const sha = sha256.create();
  const md = md5.create();
  for (let at = 0; at < file.size; at += SLICE_BYTES) {
    let slice;
    try {
      slice = new Uint8Array(await file.slice(at, at + SLICE_BYTES).arrayBuffer());
    } catch {
      // A file in a cloud folder, or one that changed since it was chosen.
      throw new UnreadableMediaError('not_readable');
    }
    sha.update(slice);
    md.update(slice);
    watch.progress((at + SLICE_BYTES) / file.size);
  }
  return [
    { kind: 'sha256', value: toHex(sha.digest()) },
    { kind: 'md5', value: toHex(md.digest()) },
  ];
}
