/** One file in, its fingerprints out; progress in between. */

import { digests } from './digest.js';
import { kindOf, UnreadableMediaError } from './media.js';
import { pictureFingerprints } from './picture.js';

/**
 * @typedef {{file: Blob}} Request
 * @typedef {{type: 'progress', share: number}
 *   | {type: 'done', result: import('./media.js').MediaFingerprint}
 *   | {type: 'refused', reason: import('./media.js').Reason}} Answer
 */

/** @param {import('./picture.js').Decoders} decoders */
export function serve(decoders) {
  // A rejection in a worker reaches nobody; an error reaches the page.
  self.addEventListener('unhandledrejection', (event) => {
    setTimeout(() => {
      throw event.reason;
    });
  });
  self.addEventListener('message', async (/** @type {MessageEvent<Request>} */ event) => {
    try {
      answer({ type: 'done', result: await fingerprint(event.data.file, decoders) });
    } catch (error) {
      if (!(error instanceof UnreadableMediaError)) throw error;
      answer({ type: 'refused', reason: error.code });
    }
  });
}

/** @param {Answer} message */
function answer(message) {
  self.postMessage(message);
}

/**
 * @param {Blob} file
 * @param {import('./picture.js').Decoders} decoders
 * @returns {Promise<import('./media.js').MediaFingerprint>}
 */
async function fingerprint(file, decoders) {
  const kind = await kindOf(file);
  if (kind.media === 'image') {
    const pdq = await pictureFingerprints(file, kind.format, decoders);
    const digest = await digests(file, (share) => answer({ type: 'progress', share }));
    return { media: 'image', fingerprints: [...pdq, ...digest], notes: [] };
  }
  const { videoFingerprints } = await import('./video.js');
  return videoFingerprints(file, (share) => answer({ type: 'progress', share }));
}
