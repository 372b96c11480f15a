import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { addEntry, entriesOfLogWith, LogProofError } from '../case/log.js';

const url = new URL('../../vectors/proofs.json', import.meta.url);
const vectors = JSON.parse(readFileSync(url, 'utf8'));
const log = { origin: vectors.origin, key: new Uint8Array(Buffer.from(vectors.log_key, 'hex')) };

/** @param {{file: string, commitment: string, index: number}} each */
function check(each, of = log) {
  const entry = addEntry(new Uint8Array(Buffer.from(each.commitment, 'hex')));
  return entriesOfLogWith(new Uint8Array(Buffer.from(each.file, 'base64')), entry, each.index, of);
}

for (const each of vectors.accepted) {
  test(`a proof holds: ${each.name}`, async () => {
    assert.equal(await check(each), each.size);
  });
}

for (const each of vectors.refused) {
  test(`a proof is refused: ${each.name}`, async () => {
    await assert.rejects(check(each), LogProofError);
  });
}

test('a proof is refused with the key of another log', async () => {
  const key = log.key.slice();
  key[0] ^= 1;
  await assert.rejects(check(vectors.accepted[0], { ...log, key }), LogProofError);
});

test('the signature is judged as the browser itself judges it', async () => {
  const key = await crypto.subtle.importKey('raw', log.key, 'Ed25519', false, ['verify']);
  for (const each of [...vectors.accepted, ...vectors.refused]) {
    const note = /\n\n([^]*\n)\n— log\.example\/proofs (\S+)\n$/.exec(Buffer.from(each.file, 'base64').toString());
    if (note === null) continue;
    const signature = new Uint8Array(Buffer.from(note[2], 'base64')).slice(4);
    const holds = await crypto.subtle.verify('Ed25519', key, signature, Buffer.from(note[1]));
    // What the browser's own verifier refuses is never accepted here.
    if (!holds) await assert.rejects(check(each), LogProofError);
  }
});
