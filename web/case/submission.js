/** The JSON that leaves the device, and the answer to it (docs/protocol/case.md). */

import { toBase64 } from './receipt.js';

/**
 * @typedef {'minor' | 'adult' | 'unknown'} Age
 * @typedef {object} Outcome what the clearinghouse answered
 * @property {{item_key: string, state: string, reasons: string[], commitment: string}[]} [items]
 * @property {{signed_at: string, max_merge_seconds: number, signature: string}} [promise]
 * @property {{code: string, message: string, field?: string}} [error]
 */

/**
 * @param {import('./receipt.js').Receipt} receipt
 * @param {Age} age
 * @param {import('../fingerprint/media.js').MediaFingerprint[]} files in the order shown
 * @returns {Promise<string>} JSON, one fingerprint a line so that people can read it
 */
export async function caseText(receipt, age, files) {
  const items = await Promise.all(
    files.map(async (file, number) => ({
      item_key: toBase64(await receipt.itemKey(number).publicKey()),
      salt: toBase64(receipt.itemSalt(number)),
      media: file.media,
      fingerprints: file.fingerprints,
    })),
  );
  const caseKey = toBase64(await receipt.caseKey().publicKey());
  const lines = items.map((item) => {
    const { fingerprints, ...rest } = item;
    const head = JSON.stringify(rest).slice(0, -1);
    const rows = fingerprints.map((each) => `    ${JSON.stringify(each)}`).join(',\n');
    return `  ${head},"fingerprints":[\n${rows}\n  ]}`;
  });
  return `{"version":1,"case_key":"${caseKey}","age":"${age}","items":[\n${lines.join(',\n')}\n]}`;
}

/**
 * @param {string} text of the answer's `data-outcome`
 * @returns {Outcome}
 */
export function readOutcome(text) {
  try {
    const outcome = JSON.parse(text);
    if (outcome !== null && typeof outcome === 'object') return outcome;
  } catch {
    // Falls through: an answer that cannot be read is none.
  }
  return { error: { code: 'unreadable', message: '' } };
}
