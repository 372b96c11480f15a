import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Bright } from '../fingerprint/bars.js';

/** Dark frames with a bright box, somewhere in a larger buffer. */
function frame(width, height, [left, top, right, bottom]) {
  const [offset, stride] = [5, width + 3];
  const bytes = new Uint8Array(offset + stride * height).fill(255);
  for (let row = 0; row < height; row++) bytes.fill(40, offset + row * stride, offset + row * stride + width);
  // Two corners say where it ends; the rest may be dark.
  if (right > left) {
    bytes[offset + top * stride + left] = 41;
    bytes[offset + (bottom - 1) * stride + right - 1] = 41;
  }
  return { bytes, offset, stride, width, height };
}

/** The brightest of every pixel first, then lines: slow and obvious. */
function contentOf(boxes, width, height) {
  const side = (starts, stops, length) => {
    const [start, stop] = [Math.min(length, ...starts), Math.max(0, ...stops)];
    if (stop - start < length / 4) return [0, length];
    return [start < length / 50 ? 0 : start, length - stop < length / 50 ? length : stop];
  };
  const seen = boxes.filter(([left, , right]) => right > left);
  const [left, right] = side(seen.map((box) => box[0]), seen.map((box) => box[2]), width);
  const [top, bottom] = side(seen.map((box) => box[1]), seen.map((box) => box[3]), height);
  return { left, top, right, bottom };
}

for (const [name, boxes] of [
  ['letterbox', [[0, 20, 200, 80]]],
  ['pillarbox', [[50, 0, 150, 100]]],
  ['bars that grow thinner from frame to frame', [[90, 40, 120, 60], [60, 30, 130, 70], [50, 35, 150, 80]]],
  ['bars too thin to be meant', [[3, 1, 197, 99]]],
  ['bars just thick enough', [[4, 2, 196, 98]]],
  ['nothing but dark', [[0, 0, 0, 0]]],
  ['a small light in the dark', [[90, 40, 110, 50]]],
  ['a small light, then a box', [[90, 40, 110, 50], [40, 30, 160, 70]]],
  ['first dark, then all of it', [[0, 0, 0, 0], [0, 0, 200, 100]]],
  ['two corners in two frames', [[0, 0, 100, 50], [100, 50, 200, 100]]],
]) {
  test(`bars: ${name}`, () => {
    const bright = new Bright(200, 100);
    for (const box of boxes) {
      bright.add(frame(200, 100, box));
      const { left, top, right, bottom } = bright.content();
      const isWhole = left === 0 && top === 0 && right === 200 && bottom === 100;
      assert.ok(!bright.isEverywhere() || isWhole);
    }
    assert.deepEqual(bright.content(), contentOf(boxes, 200, 100));
  });
}

test('a frame of another size says nothing of bars', () => {
  const bright = new Bright(200, 100);
  bright.add(frame(200, 100, [50, 0, 150, 100]));
  bright.add(frame(300, 100, [0, 0, 300, 100]));
  assert.deepEqual(bright.content(), { left: 50, top: 0, right: 150, bottom: 100 });
});
