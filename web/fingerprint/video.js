/** Fingerprints of a video. */

import { digests } from './digest.js';

/**
 * @param {Blob} file
 * @param {(share: number) => void} onProgress
 * @returns {Promise<import('./media.js').MediaFingerprint>}
 */
export async function videoFingerprints(file, onProgress) {
  return { media: 'video', fingerprints: await digests(file, onProgress), notes: ['no_decoder'] };
}
