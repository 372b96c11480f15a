/**
 * MD5 (RFC 1321) of bytes that come in pieces. Old lists of platforms know files by it; it is no
 * protection against a file made to be mistaken for another. Written out, because the library
 * that does the rest of our cryptography takes eight times as long, of every byte of a video.
 */

const BLOCK_BYTES = 64;

export class Md5 {
  constructor() {
    this.state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
    this.block = new Uint8Array(BLOCK_BYTES);
    /** Bytes so far. */
    this.length = 0;
  }

  /** @param {Uint8Array} bytes the next */
  update(bytes) {
    const waiting = this.length % BLOCK_BYTES;
    this.length += bytes.length;
    let at = 0;
    if (waiting > 0) {
      at = Math.min(BLOCK_BYTES - waiting, bytes.length);
      this.block.set(bytes.subarray(0, at), waiting);
      if (waiting + at < BLOCK_BYTES) return;
      addBlocks(this.state, this.block);
    }
    const end = bytes.length - ((bytes.length - at) % BLOCK_BYTES);
    if (end > at) addBlocks(this.state, bytes.subarray(at, end));
    this.block.set(bytes.subarray(end));
  }

  /** @returns {Uint8Array} 16 bytes, after which nothing may follow */
  digest() {
    const bits = this.length * 8;
    const padding = new Uint8Array(BLOCK_BYTES - ((this.length + 8) % BLOCK_BYTES) + 8);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer, padding.length - 8);
    view.setUint32(0, bits % 2 ** 32, true);
    view.setUint32(4, Math.floor(bits / 2 ** 32), true);
    this.update(padding);
    return new Uint8Array(this.state.buffer);
  }
}

/**
 * The 64 steps of each block, as RFC 1321, 3.4 lists them, with names instead of a table of
 * places. What needs the last step's result is added last: the rest need not wait for it.
 * @param {Int32Array} state four words, replaced
 * @param {Uint8Array} bytes whole blocks
 */
function addBlocks(state, bytes) {
  const isAligned = bytes.byteOffset % 4 === 0;
  const from = isAligned ? bytes : bytes.slice();
  // Little-endian, as every device with a browser is.
  const words = new Int32Array(from.buffer, from.byteOffset, from.length / 4);
  let [a, b, c, d] = state;
  for (let at = 0; at < words.length; at += 16) {
    const a0 = a;
    const b0 = b;
    const c0 = c;
    const d0 = d;
    const x0 = words[at];
    const x1 = words[at + 1];
    const x2 = words[at + 2];
    const x3 = words[at + 3];
    const x4 = words[at + 4];
    const x5 = words[at + 5];
    const x6 = words[at + 6];
    const x7 = words[at + 7];
    const x8 = words[at + 8];
    const x9 = words[at + 9];
    const x10 = words[at + 10];
    const x11 = words[at + 11];
    const x12 = words[at + 12];
    const x13 = words[at + 13];
    const x14 = words[at + 14];
    const x15 = words[at + 15];

    a = (x0 + 0xd76aa478 + a + (d ^ (b & (c ^ d)))) | 0;
    a = (((a << 7) | (a >>> 25)) + b) | 0;
    d = (x1 + 0xe8c7b756 + d + (c ^ (a & (b ^ c)))) | 0;
    d = (((d << 12) | (d >>> 20)) + a) | 0;
    c = (x2 + 0x242070db + c + (b ^ (d & (a ^ b)))) | 0;
    c = (((c << 17) | (c >>> 15)) + d) | 0;
    b = (x3 + 0xc1bdceee + b + (a ^ (c & (d ^ a)))) | 0;
    b = (((b << 22) | (b >>> 10)) + c) | 0;
    a = (x4 + 0xf57c0faf + a + (d ^ (b & (c ^ d)))) | 0;
    a = (((a << 7) | (a >>> 25)) + b) | 0;
    d = (x5 + 0x4787c62a + d + (c ^ (a & (b ^ c)))) | 0;
    d = (((d << 12) | (d >>> 20)) + a) | 0;
    c = (x6 + 0xa8304613 + c + (b ^ (d & (a ^ b)))) | 0;
    c = (((c << 17) | (c >>> 15)) + d) | 0;
    b = (x7 + 0xfd469501 + b + (a ^ (c & (d ^ a)))) | 0;
    b = (((b << 22) | (b >>> 10)) + c) | 0;
    a = (x8 + 0x698098d8 + a + (d ^ (b & (c ^ d)))) | 0;
    a = (((a << 7) | (a >>> 25)) + b) | 0;
    d = (x9 + 0x8b44f7af + d + (c ^ (a & (b ^ c)))) | 0;
    d = (((d << 12) | (d >>> 20)) + a) | 0;
    c = (x10 + 0xffff5bb1 + c + (b ^ (d & (a ^ b)))) | 0;
    c = (((c << 17) | (c >>> 15)) + d) | 0;
    b = (x11 + 0x895cd7be + b + (a ^ (c & (d ^ a)))) | 0;
    b = (((b << 22) | (b >>> 10)) + c) | 0;
    a = (x12 + 0x6b901122 + a + (d ^ (b & (c ^ d)))) | 0;
    a = (((a << 7) | (a >>> 25)) + b) | 0;
    d = (x13 + 0xfd987193 + d + (c ^ (a & (b ^ c)))) | 0;
    d = (((d << 12) | (d >>> 20)) + a) | 0;
    c = (x14 + 0xa679438e + c + (b ^ (d & (a ^ b)))) | 0;
    c = (((c << 17) | (c >>> 15)) + d) | 0;
    b = (x15 + 0x49b40821 + b + (a ^ (c & (d ^ a)))) | 0;
    b = (((b << 22) | (b >>> 10)) + c) | 0;

    a = (x1 + 0xf61e2562 + a + (c & ~d) + (b & d)) | 0;
    a = (((a << 5) | (a >>> 27)) + b) | 0;
    d = (x6 + 0xc040b340 + d + (b & ~c) + (a & c)) | 0;
    d = (((d << 9) | (d >>> 23)) + a) | 0;
    c = (x11 + 0x265e5a51 + c + (a & ~b) + (d & b)) | 0;
    c = (((c << 14) | (c >>> 18)) + d) | 0;
    b = (x0 + 0xe9b6c7aa + b + (d & ~a) + (c & a)) | 0;
    b = (((b << 20) | (b >>> 12)) + c) | 0;
    a = (x5 + 0xd62f105d + a + (c & ~d) + (b & d)) | 0;
    a = (((a << 5) | (a >>> 27)) + b) | 0;
    d = (x10 + 0x02441453 + d + (b & ~c) + (a & c)) | 0;
    d = (((d << 9) | (d >>> 23)) + a) | 0;
    c = (x15 + 0xd8a1e681 + c + (a & ~b) + (d & b)) | 0;
    c = (((c << 14) | (c >>> 18)) + d) | 0;
    b = (x4 + 0xe7d3fbc8 + b + (d & ~a) + (c & a)) | 0;
    b = (((b << 20) | (b >>> 12)) + c) | 0;
    a = (x9 + 0x21e1cde6 + a + (c & ~d) + (b & d)) | 0;
    a = (((a << 5) | (a >>> 27)) + b) | 0;
    d = (x14 + 0xc33707d6 + d + (b & ~c) + (a & c)) | 0;
    d = (((d << 9) | (d >>> 23)) + a) | 0;
    c = (x3 + 0xf4d50d87 + c + (a & ~b) + (d & b)) | 0;
    c = (((c << 14) | (c >>> 18)) + d) | 0;
    b = (x8 + 0x455a14ed + b + (d & ~a) + (c & a)) | 0;
    b = (((b << 20) | (b >>> 12)) + c) | 0;
    a = (x13 + 0xa9e3e905 + a + (c & ~d) + (b & d)) | 0;
    a = (((a << 5) | (a >>> 27)) + b) | 0;
    d = (x2 + 0xfcefa3f8 + d + (b & ~c) + (a & c)) | 0;
    d = (((d << 9) | (d >>> 23)) + a) | 0;
    c = (x7 + 0x676f02d9 + c + (a & ~b) + (d & b)) | 0;
    c = (((c << 14) | (c >>> 18)) + d) | 0;
    b = (x12 + 0x8d2a4c8a + b + (d & ~a) + (c & a)) | 0;
    b = (((b << 20) | (b >>> 12)) + c) | 0;

    a = (x5 + 0xfffa3942 + a + (b ^ (c ^ d))) | 0;
    a = (((a << 4) | (a >>> 28)) + b) | 0;
    d = (x8 + 0x8771f681 + d + (a ^ (b ^ c))) | 0;
    d = (((d << 11) | (d >>> 21)) + a) | 0;
    c = (x11 + 0x6d9d6122 + c + (d ^ (a ^ b))) | 0;
    c = (((c << 16) | (c >>> 16)) + d) | 0;
    b = (x14 + 0xfde5380c + b + (c ^ (d ^ a))) | 0;
    b = (((b << 23) | (b >>> 9)) + c) | 0;
    a = (x1 + 0xa4beea44 + a + (b ^ (c ^ d))) | 0;
    a = (((a << 4) | (a >>> 28)) + b) | 0;
    d = (x4 + 0x4bdecfa9 + d + (a ^ (b ^ c))) | 0;
    d = (((d << 11) | (d >>> 21)) + a) | 0;
    c = (x7 + 0xf6bb4b60 + c + (d ^ (a ^ b))) | 0;
    c = (((c << 16) | (c >>> 16)) + d) | 0;
    b = (x10 + 0xbebfbc70 + b + (c ^ (d ^ a))) | 0;
    b = (((b << 23) | (b >>> 9)) + c) | 0;
    a = (x13 + 0x289b7ec6 + a + (b ^ (c ^ d))) | 0;
    a = (((a << 4) | (a >>> 28)) + b) | 0;
    d = (x0 + 0xeaa127fa + d + (a ^ (b ^ c))) | 0;
    d = (((d << 11) | (d >>> 21)) + a) | 0;
    c = (x3 + 0xd4ef3085 + c + (d ^ (a ^ b))) | 0;
    c = (((c << 16) | (c >>> 16)) + d) | 0;
    b = (x6 + 0x04881d05 + b + (c ^ (d ^ a))) | 0;
    b = (((b << 23) | (b >>> 9)) + c) | 0;
    a = (x9 + 0xd9d4d039 + a + (b ^ (c ^ d))) | 0;
    a = (((a << 4) | (a >>> 28)) + b) | 0;
    d = (x12 + 0xe6db99e5 + d + (a ^ (b ^ c))) | 0;
    d = (((d << 11) | (d >>> 21)) + a) | 0;
    c = (x15 + 0x1fa27cf8 + c + (d ^ (a ^ b))) | 0;
    c = (((c << 16) | (c >>> 16)) + d) | 0;
    b = (x2 + 0xc4ac5665 + b + (c ^ (d ^ a))) | 0;
    b = (((b << 23) | (b >>> 9)) + c) | 0;

    a = (x0 + 0xf4292244 + a + (c ^ (b | ~d))) | 0;
    a = (((a << 6) | (a >>> 26)) + b) | 0;
    d = (x7 + 0x432aff97 + d + (b ^ (a | ~c))) | 0;
    d = (((d << 10) | (d >>> 22)) + a) | 0;
    c = (x14 + 0xab9423a7 + c + (a ^ (d | ~b))) | 0;
    c = (((c << 15) | (c >>> 17)) + d) | 0;
    b = (x5 + 0xfc93a039 + b + (d ^ (c | ~a))) | 0;
    b = (((b << 21) | (b >>> 11)) + c) | 0;
    a = (x12 + 0x655b59c3 + a + (c ^ (b | ~d))) | 0;
    a = (((a << 6) | (a >>> 26)) + b) | 0;
    d = (x3 + 0x8f0ccc92 + d + (b ^ (a | ~c))) | 0;
    d = (((d << 10) | (d >>> 22)) + a) | 0;
    c = (x10 + 0xffeff47d + c + (a ^ (d | ~b))) | 0;
    c = (((c << 15) | (c >>> 17)) + d) | 0;
    b = (x1 + 0x85845dd1 + b + (d ^ (c | ~a))) | 0;
    b = (((b << 21) | (b >>> 11)) + c) | 0;
    a = (x8 + 0x6fa87e4f + a + (c ^ (b | ~d))) | 0;
    a = (((a << 6) | (a >>> 26)) + b) | 0;
    d = (x15 + 0xfe2ce6e0 + d + (b ^ (a | ~c))) | 0;
    d = (((d << 10) | (d >>> 22)) + a) | 0;
    c = (x6 + 0xa3014314 + c + (a ^ (d | ~b))) | 0;
    c = (((c << 15) | (c >>> 17)) + d) | 0;
    b = (x13 + 0x4e0811a1 + b + (d ^ (c | ~a))) | 0;
    b = (((b << 21) | (b >>> 11)) + c) | 0;
    a = (x4 + 0xf7537e82 + a + (c ^ (b | ~d))) | 0;
    a = (((a << 6) | (a >>> 26)) + b) | 0;
    d = (x11 + 0xbd3af235 + d + (b ^ (a | ~c))) | 0;
    d = (((d << 10) | (d >>> 22)) + a) | 0;
    c = (x2 + 0x2ad7d2bb + c + (a ^ (d | ~b))) | 0;
    c = (((c << 15) | (c >>> 17)) + d) | 0;
    b = (x9 + 0xeb86d391 + b + (d ^ (c | ~a))) | 0;
    b = (((b << 21) | (b >>> 11)) + c) | 0;

    a = (a + a0) | 0;
    b = (b + b0) | 0;
    c = (c + c0) | 0;
    d = (d + d0) | 0;
  }
  state.set([a, b, c, d]);
}
