import assert from 'node:assert/strict';
import { test } from 'node:test';

import { md5 } from '@noble/hashes/legacy.js';

import { toHex } from '../fingerprint/media.js';
import { Md5 } from '../fingerprint/md5.js';

/** Numbers that look random and are the same in every run. */
function* numbers(seed) {
  for (let state = seed; ; ) {
    state = (state * 48271) % 0x7fffffff;
    yield state;
  }
}

/** Of bytes that come in pieces: each a view into the middle of a larger buffer, as slices are. */
function inPieces(bytes, lengths) {
  const hash = new Md5();
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const piece = bytes.subarray(at, at + lengths[turn % lengths.length]);
    hash.update(piece);
    at += piece.length;
  }
  return toHex(hash.digest());
}

test('MD5 of a short text is that of RFC 1321, A.5', () => {
  assert.equal(inPieces(new TextEncoder().encode('message digest'), [3]), 'f96b697d7cb7938d525a2f31aaf161d0');
  assert.equal(inPieces(new Uint8Array(0), [1]), 'd41d8cd98f00b204e9800998ecf8427e');
});

test('MD5 of every length around three blocks is that of the library', () => {
  const random = numbers(1);
  const bytes = Uint8Array.from({ length: 200 }, () => random.next().value & 255);
  for (let length = 0; length <= bytes.length; length++) {
    const part = bytes.subarray(0, length);
    assert.equal(inPieces(part, [200]), toHex(md5(part)), `${length} bytes`);
  }
});

test('MD5 does not depend on where the pieces are cut', () => {
  const random = numbers(2);
  for (let round = 0; round < 200; round++) {
    const bytes = Uint8Array.from({ length: random.next().value % 2000 }, () => random.next().value & 255);
    const lengths = Array.from({ length: 7 }, () => 1 + (random.next().value % 150));
    assert.equal(inPieces(bytes, lengths), toHex(md5(bytes)), `${bytes.length} bytes in ${lengths}`);
  }
});

test('MD5 of more than 2 ** 32 bits says how many there were', () => {
  const hash = new Md5();
  const zeros = new Uint8Array(1 << 24);
  for (let turn = 0; turn < 33; turn++) hash.update(zeros);
  // `head -c 553648128 /dev/zero | md5sum`
  assert.equal(toHex(hash.digest()), 'ae045953bc902db39a63884a75d06a90');
});
