/** Solves the proof of work beside the fingerprinting. */

import { solve } from './proof.js';

self.addEventListener('message', async (/** @type {MessageEvent<import('./proof.js').Challenge>} */ event) => {
  self.postMessage(await solve(event.data));
});
