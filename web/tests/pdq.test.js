import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Dense } from '../fingerprint/dense.js';
import { kindOf, StoppedError, UnreadableMediaError, Watch } from '../fingerprint/media.js';
import { distanceBits, LumaSampler, ORIENTATIONS, pdqOf, tents, UPRIGHT } from '../fingerprint/pdq.js';
import { PixelSampler } from '../fingerprint/pixels.js';
import { CellSums } from '../fingerprint/windows.js';

/** Pixels that look random and are the same in every run. */
function noise(count, seed) {
  let state = seed;
  return Uint8Array.from({ length: count }, () => {
    state = (state * 48271) % 0x7fffffff;
    return state & 255;
  });
}

/** The reference's way: two box filters along one line, then 64 samples; slow and obvious. */
function blurredTwice(line) {
  const full = Math.ceil(line.length / 128);
  const ahead = Math.floor((full + 2) / 2) - 1;
  const behind = full - ahead - 1;
  const box = (values) =>
    values.map((_, at) => {
      const window = values.slice(Math.max(0, at - behind), at + ahead + 1);
      return window.reduce((sum, value) => sum + value, 0) / window.length;
    });
  const twice = box(box(line));
  return Array.from({ length: 64 }, (_, sample) => twice[Math.floor(((sample + 0.5) * line.length) / 64)]);
}

for (const length of [5, 63, 64, 65, 127, 128, 129, 640, 1001, 4032]) {
  test(`the tents of ${length} pixels sample as two box filters do`, () => {
    const line = Array.from(noise(length, length));
    const { start, end, at, weight } = tents(length);
    const expected = blurredTwice(line);
    for (let sample = 0; sample < 64; sample++) {
      let sum = 0;
      for (let x = start[sample]; x < end[sample]; x++) sum += weight[at[sample] + x - start[sample]] * line[x];
      assert.ok(Math.abs(sum - expected[sample]) < 1e-9);
    }
  });
}

test('a turned picture read with its orientation is the upright picture', () => {
  const [width, height] = [97, 140];
  const upright = noise(width * height, 5);
  const sampleOf = (bytes, columns, rows, orientation) => {
    const sampler = new LumaSampler(columns, rows, orientation);
    sampler.addPlane(bytes, 0, columns);
    return pdqOf(sampler.upright()).hash;
  };
  const expected = sampleOf(upright, width, height, UPRIGHT);
  for (let turn = 0; turn < 8; turn++) {
    const orientation = { flipsRows: !!(turn & 1), flipsColumns: !!(turn & 2), transposes: !!(turn & 4) };
    const [columns, rows] = orientation.transposes ? [height, width] : [width, height];
    const stored = new Uint8Array(width * height);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const i = orientation.flipsRows ? rows - 1 - row : row;
        const j = orientation.flipsColumns ? columns - 1 - column : column;
        stored[row * columns + column] = orientation.transposes ? upright[j * width + i] : upright[i * width + j];
      }
    }
    assert.equal(distanceBits(sampleOf(stored, columns, rows, orientation), expected), 0);
  }
});

for (const [width, height] of [
  [1920, 1080],
  [1279, 720],
  [322, 1000],
  [64, 65],
  [96, 130],
  [144, 250],
  [61, 2100],
  [3840, 2160],
  [2160, 3840],
  [8, 4096],
  [9, 4097],
]) {
  test(`a plane of ${width} x ${height} gives the same samples four pixels at a time`, () => {
    const stride = Math.ceil(width / 4) * 4 + 4;
    const plane = noise(stride * height, width);
    // The brightest there is, where sums are nearest to what a lane holds.
    plane.fill(255, 0, plane.length / 2);
    const fast = new LumaSampler(width, height);
    fast.addPlane(plane, 0, stride);
    const slow = new LumaSampler(width, height);
    for (let row = 0; row < height; row++) {
      slow.addRow(Int32Array.from(plane.subarray(row * stride, row * stride + width)));
    }
    const [one, other] = [fast.upright(), slow.upright()];
    assert.ok(one.every((value, at) => Math.abs(value - other[at]) < 1e-9));
  });
}

for (const [width, height] of [
  [1279, 720],
  [640, 1001],
  [61, 2100],
  [5, 7],
  [6, 11_649],
  [40, 3024],
  [33, 4032],
  [8, 8193],
  [2000, 9],
]) {
  for (const order of ['rgb', 'bgr']) {
    test(`the pixels of ${width} x ${height}, ${order}, give the samples and cells of their luma`, () => {
      const bytes = noise(4 * width * height, width + height);
      // The brightest there is, where sums are nearest to what a word holds.
      bytes.fill(255, 0, bytes.length / 2);
      const pixels = new Int32Array(bytes.buffer);
      const cells = new CellSums(width, height);
      const fast = new PixelSampler(width, height, cells, order);
      for (let row = 0, count = 1; row < height; row += count, count = Math.min(count + 1, height - row)) {
        fast.addRows(pixels, row * width, width, count);
      }
      const slow = new LumaSampler(width, height);
      const sums = new Float64Array(cells.cells.length);
      for (let row = 0; row < height; row++) {
        const luma = Int32Array.from({ length: width }, (_, x) => {
          const [one, green, other] = bytes.subarray(4 * (row * width + x));
          return order === 'rgb' ? 299 * one + 587 * green + 114 * other : 114 * one + 587 * green + 299 * other;
        });
        slow.addRow(luma);
        const [i, { side, columns }] = [Math.floor(row / cells.side), cells];
        if (i >= cells.rows) continue;
        for (let x = 0; x < columns * side; x++) sums[i * columns + Math.floor(x / side)] += luma[x];
      }
      assert.deepEqual(cells.cells, sums);
      const [one, other] = [fast.matrix(), slow.upright(1 / 1000)];
      assert.ok(one.every((value, at) => Math.abs(value - other[at]) < 1e-9));
    });
  }
}

test('cells of more rows than a word holds are added up in parts', () => {
  const [width, height, side] = [300, 700, 300];
  const cells = new CellSums(width, height);
  // As of a picture that is 150 000 pixels long, which would take a second here.
  Object.assign(cells, { side, rows: 2, columns: 1, top: 0, left: 0, cells: new Float64Array(2) });
  const sampler = new PixelSampler(width, height, cells);
  sampler.addRows(new Int32Array(width * height).fill(-1), 0, width, height);
  const white = side * side * 255 * 1000;
  assert.deepEqual([...cells.cells], [white, white]);
});

test('the pixels of a turned picture give the samples and cells of the upright one', () => {
  // Neither side is a multiple of a cell's: what is left over must stand on the same side.
  const [width, height] = [1031, 777];
  const upright = new Int32Array(noise(4 * width * height, 8).buffer);
  const read = (pixels, columns, rows, orientation) => {
    const cells = new CellSums(columns, rows, orientation);
    const sampler = new PixelSampler(columns, rows, cells);
    sampler.addRows(pixels, 0, columns, rows);
    return { cells: cells.upright(), matrix: sampler.matrix() };
  };
  const expected = read(upright, width, height, UPRIGHT);
  for (const orientation of ORIENTATIONS) {
    const [columns, rows] = orientation.transposes ? [height, width] : [width, height];
    const stored = new Int32Array(width * height);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const i = orientation.flipsRows ? rows - 1 - row : row;
        const j = orientation.flipsColumns ? columns - 1 - column : column;
        stored[row * columns + column] = orientation.transposes ? upright[j * width + i] : upright[i * width + j];
      }
    }
    const turned = read(stored, columns, rows, orientation);
    assert.deepEqual(turned.cells, expected.cells);
    assert.ok(turned.matrix.every((value, at) => Math.abs(value - expected.matrix[at]) < 1e-9));
  }
});

test('a flat picture is 64 zeros with quality 0', () => {
  const { hash, quality } = pdqOf(new Float64Array(4096).fill(200));
  assert.deepEqual([...hash], Array(32).fill(0));
  assert.equal(quality, 0);
});

const frame = (seed, quality = 100) => ({ hash: noise(32, seed), quality });

test('frames like the last kept one are left out, and poor ones unless there is no other', () => {
  const dense = new Dense();
  const poor = frame(9, 20);
  dense.add(poor);
  assert.deepEqual(dense.result(), [poor]);
  const first = frame(1);
  const alike = { hash: first.hash.slice(), quality: 100 };
  alike.hash[0] ^= 0xff;
  alike.hash[1] ^= 0xff;
  const unlike = { hash: alike.hash.slice(), quality: 100 };
  unlike.hash[2] ^= 1;
  for (const each of [first, alike, unlike]) dense.add(each);
  assert.deepEqual(dense.result(), [first, unlike]);
});

test('a long film is thinned out and stays below the cap', () => {
  const dense = new Dense(50);
  for (let seed = 1; seed < 1000; seed++) {
    dense.add(frame(seed));
    assert.ok(dense.kept.length <= 50);
  }
  assert.ok(dense.isCapped());
});

test('work that is watched reports its share, and stops when asked', async () => {
  const shares = [];
  const watch = new Watch((share) => shares.push(share));
  const one = async (part) => part.progress(0.5);
  const other = async (part) => {
    await Promise.resolve();
    part.progress(1);
    return 'done';
  };
  assert.deepEqual(await watch.beside([0.8, one], [0.2, other]), [undefined, 'done']);
  assert.deepEqual(shares, [0.4, 0.6000000000000001]);
  watch.isStopped = true;
  await assert.rejects(watch.beside([1, one]), StoppedError);
});

test('of works side by side one failure stops the others, and is thrown when they have ended', async () => {
  const watch = new Watch(() => undefined);
  let ended = false;
  const endless = async (part) => {
    try {
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve));
        part.progress(0.1);
      }
    } finally {
      ended = true;
    }
  };
  const failing = async () => {
    throw new UnreadableMediaError('damaged');
  };
  await assert.rejects(watch.beside([0.5, endless], [0.5, failing]), UnreadableMediaError);
  assert.ok(ended);
});

const text = (characters) => new Blob([Uint8Array.from(characters, (each) => each.charCodeAt(0))]);

for (const [head, media, format] of [
  ['\xff\xd8\xff\xe0', 'image', 'jpeg'],
  ['\x89PNG\r\n\x1a\n', 'image', 'png'],
  ['RIFF\0\0\0\0WEBP', 'image', 'webp'],
  ['\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'image', 'heic'],
  ['\0\0\0\x18ftypmif1\0\0\0\0avifmif1', 'image', 'avif'],
  ['\0\0\0\x18ftypisom\0\0\0\0isommp42', 'video', 'mp4'],
  ['\0\0\0\x08wide\0\0\0\0mdat', 'video', 'mp4'],
  ['\x1a\x45\xdf\xa3\0\0', 'video', 'matroska'],
]) {
  test(`a file that begins like ${format} is ${media} whatever its name says`, async () => {
    assert.deepEqual(await kindOf(text(head)), { media, format });
  });
}

test('words are no picture', async () => {
  await assert.rejects(kindOf(text('GIF of my cat')), UnreadableMediaError);
});
