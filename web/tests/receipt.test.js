import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { MalformedReceiptError, Receipt } from '../case/receipt.js';

const url = new URL('../../vectors/receipts.json', import.meta.url);
const vectors = JSON.parse(readFileSync(url, 'utf8'));
const { log_origin: origin, challenge } = vectors;
const hex = (bytes) => Buffer.from(bytes).toString('hex');

for (const each of vectors.receipts) {
  test(`receipt ${each.text} derives what every other implementation derives`, async () => {
    const receipt = new Receipt(Buffer.from(each.secret, 'hex'));
    assert.equal(receipt.toText(), each.text);
    assert.equal(hex(await receipt.caseKey().publicKey()), each.case_public_key);
    const status = `unspread/v1/status\n${origin}\n${challenge}\n`;
    assert.equal(hex(await receipt.caseKey().sign(status)), each.status_signature);
    for (const item of each.items) {
      const key = receipt.itemKey(item.number);
      assert.equal(hex(await key.publicKey()), item.public_key);
      assert.equal(hex(receipt.itemSalt(item.number)), item.salt);
      const withdrawal = `unspread/v1/withdraw\n${origin}\n${item.public_key}\n`;
      assert.equal(hex(await key.sign(withdrawal)), item.withdrawal_signature);
    }
  });

  test(`receipt ${each.text} is read however a person writes it`, () => {
    for (const written of [
      each.text,
      each.text.toLowerCase(),
      each.text.replaceAll('-', ' '),
      each.text.replaceAll('-', ''),
      each.text.replaceAll('0', 'o').replaceAll('1', 'l'),
      ` ${each.text.replaceAll('-', '–')}\n`,
    ]) {
      assert.equal(hex(Receipt.fromText(written).secret), each.secret);
    }
  });

  test(`receipt ${each.text} with one letter changed is refused`, () => {
    for (let at = 0; at < each.text.length; at++) {
      if (each.text[at] === '-') continue;
      const other = each.text[at] === 'A' ? 'B' : 'A';
      const mistyped = each.text.slice(0, at) + other + each.text.slice(at + 1);
      assert.throws(() => Receipt.fromText(mistyped), MalformedReceiptError);
    }
  });
}

test('a receipt is read as keyboards of other scripts and chats write it', () => {
  for (const { written, text } of vectors.spellings) {
    assert.equal(Receipt.fromText(written).toText(), text);
  }
});

test('what is not a receipt is refused', () => {
  for (const written of vectors.refused) {
    assert.throws(() => Receipt.fromText(written), MalformedReceiptError);
  }
});
