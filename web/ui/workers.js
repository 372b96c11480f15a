/** Starting workers: the only three scripts that this page may ever run as one. */

const SCRIPTS = {
  fingerprint: '/page/fingerprint/worker.js',
  decoders: '/page/fingerprint/worker_decoders.js',
  proof: '/page/case/proof_worker.js',
};

const allowed = Object.values(SCRIPTS);

/** @param {string} url */
function checked(url) {
  if (!allowed.includes(url)) throw new TypeError('not one of our workers');
  return url;
}

const trusted = /** @type {any} */ (globalThis).trustedTypes;
const policy = trusted?.createPolicy('unspread', { createScriptURL: checked });

/**
 * @param {keyof typeof SCRIPTS} name
 * @returns {Worker}
 */
export function startWorker(name) {
  const url = SCRIPTS[name];
  return new Worker(policy ? policy.createScriptURL(url) : checked(url), { type: 'module' });
}
