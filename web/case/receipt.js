/**
 * The receipt and all that derives from it; the same as `unspread.crypto` (docs/protocol/case.md).
 */

import { getPublicKeyAsync, hashes, hkdf, sha256, sha512, signAsync } from '../vendor/noble.js';

// WebCrypto's SHA-512 is missing outside secure contexts; this one is always there.
hashes.sha512Async = async (message) => sha512(message);

export const SECRET_BYTES = 13;
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const GROUP = 4;
const utf8 = new TextEncoder();

/** Not a receipt, or mistyped; `code` chooses the words. */
export class MalformedReceiptError extends Error {
  /** @param {'receipt_shape' | 'receipt_mistyped'} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** The secret that alone opens a case again. */
export class Receipt {
  /** @param {Uint8Array} secret 13 random bytes */
  constructor(secret) {
    this.secret = secret;
  }

  static random() {
    return new Receipt(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
  }

  /**
   * @param {string} written any case and grouping, digits of any script, O for 0, I or L for 1
   * @throws {MalformedReceiptError}
   */
  static fromText(written) {
    const letters = written
      .normalize('NFKC')
      // Blanks, dashes, and the marks that chats put around copied text.
      .replace(/[\p{Cc}\p{Cf}\p{Pd}\p{Zs}_.−]/gu, '')
      .replace(/\p{Nd}/gu, digit)
      .toUpperCase()
      .replaceAll('O', '0')
      .replaceAll(/[IL]/g, '1');
    if (letters.length !== 24 || [...letters].some((letter) => !ALPHABET.includes(letter))) {
      throw new MalformedReceiptError('receipt_shape');
    }
    let number = 0n;
    for (const letter of letters) number = (number << 5n) | BigInt(ALPHABET.indexOf(letter));
    const raw = new Uint8Array(15);
    for (let at = 14; at >= 0; at--, number >>= 8n) raw[at] = Number(number & 255n);
    const secret = raw.slice(0, SECRET_BYTES);
    const check = checkOf(secret);
    if (raw[13] !== check[0] || raw[14] !== check[1]) {
      throw new MalformedReceiptError('receipt_mistyped');
    }
    return new Receipt(secret);
  }

  /** Six groups of four characters. */
  toText() {
    let number = 0n;
    for (const byte of [...this.secret, ...checkOf(this.secret)]) number = (number << 8n) | BigInt(byte);
    let letters = '';
    for (let shift = 115n; shift >= 0n; shift -= 5n) letters += ALPHABET[Number((number >> shift) & 31n)];
    return (letters.match(new RegExp(`.{${GROUP}}`, 'g')) ?? []).join('-');
  }

  caseKey() {
    return new SigningKey(this.derive('unspread/v1/case-key', 32));
  }

  /** @param {number} item 0.. in the order submitted */
  itemKey(item) {
    return new SigningKey(this.derive(`unspread/v1/item-key/${item}`, 32));
  }

  /** @param {number} item */
  itemSalt(item) {
    return this.derive(`unspread/v1/item-salt/${item}`, 16);
  }

  /**
   * @param {string} info
   * @param {number} length
   */
  derive(info, length) {
    return hkdf(sha256, this.secret, undefined, utf8.encode(info), length);
  }

  /** Overwrites the secret, as far as a script can. */
  forget() {
    this.secret.fill(0);
  }
}

/** An Ed25519 key (RFC 8032). */
export class SigningKey {
  /** @param {Uint8Array} seed 32 bytes */
  constructor(seed) {
    this.seed = seed;
  }

  publicKey() {
    return getPublicKeyAsync(this.seed);
  }

  /** @param {string} message */
  sign(message) {
    return signAsync(utf8.encode(message), this.seed);
  }
}

/**
 * As a keyboard for Arabic, Hindi or Bangla types them: in Unicode the ten of a script are in a row.
 * @param {string} written one decimal digit of any script
 */
function digit(written) {
  const code = /** @type {number} */ (written.codePointAt(0));
  let value = 0;
  while (value < 9 && /\p{Nd}/u.test(String.fromCodePoint(code - value - 1))) value++;
  return String(value);
}

/** @param {Uint8Array} secret */
function checkOf(secret) {
  return sha256(new Uint8Array([...utf8.encode('unspread/v1/receipt-check'), ...secret])).slice(0, 2);
}

/**
 * @param {Uint8Array} bytes
 * @returns {string} base64url without padding
 */
export function toBase64(bytes) {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/**
 * @param {string} text base64url without padding
 * @returns {Uint8Array}
 */
export function fromBase64(text) {
  const raw = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
}
