/** Solves the proof of work beside the fingerprinting. */

import { solve } from './proof.js';

// A rejection in a worker reaches nobody; an error reaches the page.
self.addEventListener('unhandledrejection', (event) => {
  setTimeout(() => {
    throw event.reason;
  });
});

self.addEventListener('message', async (/** @type {MessageEvent<import('./proof.js').Challenge>} */ event) => {
  self.postMessage(await solve(event.data));
});
