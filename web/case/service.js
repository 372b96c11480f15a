/** What a person can ask with a receipt. Used by the status page only: the way in cannot connect. */

import { toBase64 } from './receipt.js';

/** The clearinghouse refused or did not answer; `code` chooses the words. */
export class ServiceError extends Error {
  /**
   * @param {string} code
   * @param {string} [message] for people, from the service
   */
  constructor(code, message) {
    super(message ?? code);
    this.code = code;
  }
}

/**
 * @typedef {object} PlatformStatus
 * @property {string} name
 * @property {string | null} [received_at]
 * @property {string | null} [found_at]
 * @property {string | null} [removed_at]
 * @property {string | null} [blocked_at]
 * @property {number} [blocked_count]
 * @property {string | null} [kept_at]
 * @property {string | null} [kept_reason]
 * @property {string | null} [disputed_at]
 * @property {string | null} [disputed_reason]
 * @property {string | null} [forgotten_at]
 * @typedef {object} ItemStatus
 * @property {string} item_key
 * @property {'image' | 'video'} media
 * @property {string} state
 * @property {string} level
 * @property {string[]} reasons
 * @property {number | null} listing_id
 * @property {string} commitment
 * @property {PlatformStatus[]} platforms
 * @typedef {{submitted_on: string, expires_on: string, age: string, items: ItemStatus[]}} CaseStatus
 */

/** One case at one clearinghouse. */
export class Case {
  /**
   * @param {import('./receipt.js').Receipt} receipt
   * @param {string} logOrigin
   */
  constructor(receipt, logOrigin) {
    this.receipt = receipt;
    this.logOrigin = logOrigin;
  }

  /** @returns {Promise<CaseStatus>} */
  status() {
    return this.signed('status');
  }

  /** @returns {Promise<CaseStatus>} */
  renew() {
    return this.signed('renew');
  }

  /**
   * @param {number[]} numbers of the items, 0.. in the order submitted
   * @returns {Promise<{items: {item_key: string, state: string}[]}>}
   */
  async withdraw(numbers) {
    const withdrawals = await Promise.all(
      numbers.map(async (number) => {
        const key = this.receipt.itemKey(number);
        const publicKey = await key.publicKey();
        const hex = Array.from(publicKey, (byte) => byte.toString(16).padStart(2, '0')).join('');
        const signature = await key.sign(`unspread/v1/withdraw\n${this.logOrigin}\n${hex}\n`);
        return { item_key: toBase64(publicKey), signature: toBase64(signature) };
      }),
    );
    return call('/v1/cases/withdraw', { withdrawals });
  }

  /**
   * The `.tlog-proof` of a listing's entry, as the service gives it: not checked.
   * @param {number} listing
   * @returns {Promise<Uint8Array>}
   */
  async proof(listing) {
    const response = await ask(`/v1/proof/${listing}`);
    if (!response.ok) throw new ServiceError('unavailable');
    return new Uint8Array(await response.arrayBuffer());
  }

  /** @param {'status' | 'renew'} purpose */
  async signed(purpose) {
    const { challenge } = await call('/v1/challenge');
    const key = this.receipt.caseKey();
    const signature = await key.sign(`unspread/v1/${purpose}\n${this.logOrigin}\n${challenge}\n`);
    return call(`/v1/cases/${purpose}`, {
      case_key: toBase64(await key.publicKey()),
      challenge,
      signature: toBase64(signature),
    });
  }
}

/**
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
async function call(path, body) {
  const response = await ask(path, body);
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new ServiceError('unreadable');
  }
  if (!response.ok) throw new ServiceError(answer.error?.code ?? 'unreadable', answer.error?.message);
  return answer;
}

/**
 * @param {string} path
 * @param {object} [body]
 */
async function ask(path, body) {
  try {
    return await fetch(path, {
      method: body ? 'POST' : 'GET',
      headers: body ? { 'content-type': 'application/json' } : {},
      body: body ? JSON.stringify(body) : null,
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      cache: 'no-store',
    });
  } catch {
    throw new ServiceError('offline');
  }
}
