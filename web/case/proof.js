/**
 * Proof of work in place of a puzzle: ALTCHA version 2 with PBKDF2 (https://altcha.org), solved
 * without the person doing anything. Every challenge has a solution below its counter's bound.
 */

/**
 * @typedef {object} Challenge
 * @property {{algorithm: string, cost: number, keyLength: number, keyPrefix: string,
 *   nonce: string, salt: string, expiresAt?: number}} parameters
 * @property {string} signature
 */

/**
 * @param {Challenge} challenge
 * @returns {Promise<string>} the payload to send, base64
 */
export async function solve(challenge) {
  const { parameters } = challenge;
  const match = /^PBKDF2\/(SHA-(?:256|384|512))$/.exec(parameters.algorithm);
  if (match === null) throw new Error('an unknown kind of proof of work');
  const prefix = parameters.keyPrefix.toLowerCase();
  const password = new Uint8Array([...fromHex(parameters.nonce), 0, 0, 0, 0]);
  const counterAt = new DataView(password.buffer, password.length - 4);
  const derivation = {
    name: 'PBKDF2',
    hash: match[1],
    salt: fromHex(parameters.salt),
    iterations: parameters.cost,
  };
  for (let counter = 0; ; counter++) {
    counterAt.setUint32(0, counter);
    const key = await crypto.subtle.importKey('raw', password, 'PBKDF2', false, ['deriveBits']);
    const bits = await crypto.subtle.deriveBits(derivation, key, parameters.keyLength * 8);
    const derivedKey = toHex(new Uint8Array(bits));
    if (derivedKey.startsWith(prefix)) {
      return btoa(JSON.stringify({ challenge, solution: { counter, derivedKey } }));
    }
  }
}

/** @param {string} hex */
function fromHex(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** @param {Uint8Array} bytes */
function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
