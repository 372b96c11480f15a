/**
 * The public log, as far as one device can check it: that an entry stands in the tree whose size
 * and root the log has signed (https://c2sp.org/tlog-proof, docs/protocol/log.md). No connection
 * and no DOM: bytes in, an answer or a `LogProofError` out. The same as `unspread.transparency`.
 */

import { hashes, sha256, sha512, verifyAsync } from '../vendor/noble.js';

// As in receipt.js: also where WebCrypto has neither SHA-512 nor Ed25519.
hashes.sha512Async = async (message) => sha512(message);

const HEADER = 'c2sp.org/tlog-proof@v1';
const ED25519 = 1;
const DIGEST_BYTES = 32;
const KEY_ID_BYTES = 4;
const SIGNATURE_BYTES = 64;
const MAX_DIGESTS = 64;
const MAX_BYTES = 1 << 18;
const MAX_SIGNATURES = 64;
/** Larger than any log, and exact as a number. */
const MAX_SIZE = 2 ** 40;
const NUMBER = /^(?:0|[1-9][0-9]{0,12})$/;
const SIGNATURE_LINE = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/;
const utf8 = new TextEncoder();

/**
 * The proof does not show what it should. Why, for those who look closer: the words for people
 * are the same.
 */
export class LogProofError extends Error {}

/**
 * @typedef {{origin: string, key: Uint8Array}} Log its name and its Ed25519 public key
 * @typedef {{index: number, digests: Uint8Array[], text: string, signatures: string[]}} LogProof
 */

/**
 * The public form of the entry that listed an item.
 * @param {Uint8Array} commitment 32 bytes
 */
export function addEntry(commitment) {
  if (commitment.length !== DIGEST_BYTES) throw new LogProofError('a commitment has 32 bytes');
  return new Uint8Array([1, ...commitment]);
}

/**
 * Checks everything that a device without memory can: the place of the entry in the tree, whose
 * log it is, and the log's signature.
 * @param {Uint8Array} file a `.tlog-proof`
 * @param {Uint8Array} entry public form
 * @param {number} index where it should stand
 * @param {Log} log
 * @returns {Promise<number>} how many entries the signed log has
 * @throws {LogProofError}
 */
export async function entriesOfLogWith(file, entry, index, log) {
  const proof = parsed(file);
  if (proof.index !== index) throw new LogProofError('the proof is of another entry');
  const { origin, size, root } = checkpointOf(proof.text);
  if (origin !== log.origin) throw new LogProofError('the proof is of another log');
  if (!equal(rootAbove(entry, index, size, proof.digests), root)) {
    throw new LogProofError('the entry is not at this place of the tree');
  }
  await requireSignature(proof, log);
  return size;
}

/**
 * @param {Uint8Array} file
 * @returns {LogProof}
 */
function parsed(file) {
  if (file.length > MAX_BYTES) throw new LogProofError('a proof this long is not read');
  let content;
  try {
    content = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(file);
  } catch {
    throw new LogProofError('not UTF-8');
  }
  const split = content.indexOf('\n\n');
  const lines = content.slice(0, Math.max(split, 0)).split('\n');
  if (lines.shift() !== HEADER) throw new LogProofError('not a proof of inclusion');
  if (lines[0]?.startsWith('extra ')) lines.shift();
  const number = /^index (.*)$/.exec(lines.shift() ?? '')?.[1];
  if (number === undefined || lines.length > MAX_DIGESTS) throw new LogProofError('not a proof of inclusion');
  const note = content.slice(split + 2);
  const end = note.lastIndexOf('\n\n');
  if (end < 0 || !note.endsWith('\n')) throw new LogProofError('its checkpoint is not a signed note');
  const signatures = note.slice(end + 2, -1).split('\n');
  if (signatures.length > MAX_SIGNATURES) throw new LogProofError('too many signatures on one note');
  return { index: numberOf(number), digests: lines.map(digestOf), text: note.slice(0, end + 1), signatures };
}

/** @param {string} text */
function checkpointOf(text) {
  const [origin, size, root, ...others] = text.slice(0, -1).split('\n');
  if (!origin || root === undefined || others.includes('')) throw new LogProofError('not a checkpoint');
  return { origin, size: numberOf(size), root: digestOf(root) };
}

/** @param {string} text */
function numberOf(text) {
  const number = NUMBER.test(text) ? Number(text) : Infinity;
  if (number > MAX_SIZE) throw new LogProofError('not a number in canonical form, or too large');
  return number;
}

/** @param {string} text */
function digestOf(text) {
  const bytes = standardBase64(text);
  if (bytes.length !== DIGEST_BYTES) throw new LogProofError('a digest has 32 bytes');
  return bytes;
}

/** @param {string} text */
function standardBase64(text) {
  let raw;
  try {
    raw = atob(text);
  } catch {
    throw new LogProofError('not base64');
  }
  // atob also takes spaces and what has no padding; a proof has one spelling.
  if (btoa(raw) !== text) throw new LogProofError('not base64 in canonical form');
  return Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
}

/**
 * RFC 9162, 2.1.3.2.
 * @param {Uint8Array} entry
 * @param {number} index
 * @param {number} size
 * @param {Uint8Array[]} digests
 */
function rootAbove(entry, index, size, digests) {
  if (index >= size) throw new LogProofError('the entry is not in the tree');
  let [position, last] = [index, size - 1];
  let digest = sha256(new Uint8Array([0, ...entry]));
  const climb = () => {
    position = Math.floor(position / 2);
    last = Math.floor(last / 2);
  };
  for (const sibling of digests) {
    if (last === 0) throw new LogProofError('the proof of inclusion is too long');
    if (position % 2 === 1 || position === last) {
      digest = sha256(new Uint8Array([1, ...sibling, ...digest]));
      while (position % 2 === 0 && position > 0) climb();
    } else {
      digest = sha256(new Uint8Array([1, ...digest, ...sibling]));
    }
    climb();
  }
  if (last !== 0) throw new LogProofError('the proof of inclusion is too short');
  return digest;
}

/**
 * The log's own signature is there, and every one that claims to be it holds.
 * @param {LogProof} proof
 * @param {Log} log
 */
async function requireSignature({ text, signatures }, { origin, key }) {
  const keyId = sha256(new Uint8Array([...utf8.encode(origin), 10, ED25519, ...key])).slice(0, KEY_ID_BYTES);
  let isSigned = false;
  for (const line of signatures) {
    const found = SIGNATURE_LINE.exec(line);
    if (found === null) throw new LogProofError('not a signature line');
    const raw = standardBase64(found[2]);
    if (found[1] !== origin || !equal(raw.slice(0, KEY_ID_BYTES), keyId)) continue;
    const signature = raw.slice(KEY_ID_BYTES);
    const holds = signature.length === SIGNATURE_BYTES && (await verified(signature, utf8.encode(text), key));
    if (!holds) throw new LogProofError('the signature of the log does not hold');
    isSigned = true;
  }
  if (!isSigned) throw new LogProofError('the signature of the log is missing');
}

/**
 * @param {Uint8Array} signature
 * @param {Uint8Array} message
 * @param {Uint8Array} key
 */
async function verified(signature, message, key) {
  try {
    // As RFC 8032 has it, like Python's: not the wider rule for consensus.
    return await verifyAsync(signature, message, key, { zip215: false });
  } catch {
    return false;
  }
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 */
function equal(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}
