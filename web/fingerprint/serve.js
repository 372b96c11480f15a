/** One file in, its fingerprints out; progress in between, and a way to stop. */

import { digests } from './digest.js';
import { kindOf, StoppedError, UnreadableMediaError, Watch } from './media.js';
import { pictureFingerprints } from './picture.js';

/**
 * @typedef {{file: Blob, part?: import('./picture.js').Part} | 'stop' | 'prepare'} Request
 * @typedef {{type: 'progress', share: number}
 *   | {type: 'done', result: import('./media.js').MediaFingerprint}
 *   | {type: 'refused', reason: import('./media.js').Reason}
 *   | {type: 'stopped'}
 *   | {type: 'prepared'}} Answer
 */

const REPORT_EVERY_MS = 50;

/** @type {Watch | null} */
let current = null;

/** @param {import('./picture.js').Decoders} decoders */
export function serve(decoders) {
  // A rejection in a worker reaches nobody; an error reaches the page.
  self.addEventListener('unhandledrejection', (event) => {
    setTimeout(() => {
      throw event.reason;
    });
  });
  self.addEventListener('message', async (/** @type {MessageEvent<Request>} */ event) => {
    if (event.data === 'stop') {
      if (current !== null) current.isStopped = true;
    } else if (event.data === 'prepare') {
      // So that nothing is left to load once the network is gone.
      await import('./video.js');
      answer({ type: 'prepared' });
    } else {
      await work(event.data.file, event.data.part, decoders);
    }
  });
}

/**
 * @param {Blob} file
 * @param {import('./picture.js').Part | undefined} part
 * @param {import('./picture.js').Decoders} decoders
 */
async function work(file, part, decoders) {
  let nextAt = 0;
  current = new Watch((share) => {
    // Each message wakes the page, which takes the time of a frame.
    if (performance.now() < nextAt) return;
    nextAt = performance.now() + REPORT_EVERY_MS;
    answer({ type: 'progress', share });
  });
  try {
    answer({ type: 'done', result: await fingerprint(file, part, decoders, current) });
  } catch (error) {
    if (error instanceof StoppedError) answer({ type: 'stopped' });
    else if (error instanceof UnreadableMediaError) answer({ type: 'refused', reason: error.code });
    else if (isGone(error)) answer({ type: 'refused', reason: 'not_readable' });
    else throw error;
  } finally {
    current = null;
  }
}

/**
 * The file was moved, changed or taken back by its cloud since it was chosen.
 * @param {unknown} error
 */
function isGone(error) {
  return error instanceof DOMException && ['NotFoundError', 'NotReadableError'].includes(error.name);
}

/** @param {Answer} message */
function answer(message) {
  self.postMessage(message);
}

/**
 * @param {Blob} file
 * @param {import('./picture.js').Part | undefined} part
 * @param {import('./picture.js').Decoders} decoders
 * @param {Watch} watch
 * @returns {Promise<import('./media.js').MediaFingerprint>}
 */
async function fingerprint(file, part, decoders, watch) {
  const kind = await kindOf(file);
  if (kind.media === 'image') {
    /** @type {import('./media.js').Fingerprint[]} */
    let digest = [];
    const pdq = await pictureFingerprints(file, kind.format, decoders, part, async () => {
      // A part was never a file of its own: digests would be those of the screenshot around it.
      if (!part) digest = await digests(file, watch);
    });
    return { media: 'image', fingerprints: [...pdq, ...digest], notes: [] };
  }
  if (kind.format === 'other') {
    return { media: 'video', fingerprints: await digests(file, watch), notes: ['no_decoder'] };
  }
  const { videoFingerprints } = await import('./video.js');
  return videoFingerprints(file, watch);
}
