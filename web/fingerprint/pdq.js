/**
 * PDQ of pixels, row by row, equal bit for bit to Meta's reference.
 *
 * The reference (https://github.com/facebook/ThreatExchange/tree/main/pdq, `downscaling.cpp` and
 * `pdqhashing.cpp`) blurs the luma with a box twice along rows and columns, then samples 64x64.
 * Both are linear and separable, so the sampled matrix is `T(height) . luma . T(width)ᵀ` with one
 * narrow tent of weights per sample. One pass over the pixels, and no copy of the picture.
 */

/** Rows and columns of the sampled luma. */
export const SIDE = 64;
const KEPT = 16;
const GRID = 1 << 20;

/** A picture with a shorter side has nothing to sample (`MIN_HASHABLE_DIM` of the reference). */
export const MIN_SIDE_PIXELS = 5;

/**
 * The weights with which `length` neighbours make 64 samples.
 * @typedef {object} Tents
 * @property {Int32Array} start first neighbour of each sample
 * @property {Int32Array} end one past the last neighbour of each sample
 * @property {Int32Array} at where the weights of each sample begin in `weight`
 * @property {Float64Array} weight
 */

/**
 * @param {number} length pixels along one side, 1..
 * @param {boolean} mirrored of the line read backwards, samples in reverse
 * @returns {Tents}
 */
export function tents(length, mirrored = false) {
  const made = forwardTents(length);
  if (!mirrored) return made;
  return {
    start: made.end.map((end) => length - end).reverse(),
    end: made.start.map((start) => length - start).reverse(),
    at: made.at.map((at, sample) => made.weight.length - at - (made.end[sample] - made.start[sample])).reverse(),
    weight: made.weight.toReversed(),
  };
}

/**
 * @param {number} length
 * @returns {Tents}
 */
function forwardTents(length) {
  const full = Math.floor((length + 2 * SIDE - 1) / (2 * SIDE));
  const right = Math.floor((full + 2) / 2) - 1;
  const left = full - right - 1;
  const start = new Int32Array(SIDE);
  const end = new Int32Array(SIDE);
  const at = new Int32Array(SIDE);
  /** @type {number[]} */
  const weight = [];
  for (let sample = 0; sample < SIDE; sample++) {
    const centre = Math.floor(((sample + 0.5) * length) / SIDE);
    const from = Math.max(0, centre - left);
    const to = Math.min(length - 1, centre + right);
    start[sample] = Math.max(0, from - left);
    end[sample] = Math.min(length - 1, to + right) + 1;
    at[sample] = weight.length;
    const tent = new Float64Array(end[sample] - start[sample]);
    for (let middle = from; middle <= to; middle++) {
      const low = Math.max(0, middle - left);
      const high = Math.min(length - 1, middle + right);
      const share = 1 / ((to - from + 1) * (high - low + 1));
      for (let x = low; x <= high; x++) tent[x - start[sample]] += share;
    }
    weight.push(...tent);
  }
  return { start, end, at, weight: Float64Array.from(weight) };
}

/**
 * How stored pixels become upright ones: flip rows, flip columns, then transpose.
 * @typedef {{flipsRows: boolean, flipsColumns: boolean, transposes: boolean}} Orientation
 */

/** @type {Orientation} */
export const UPRIGHT = { flipsRows: false, flipsColumns: false, transposes: false };

/** All eight, upright first. */
export const ORIENTATIONS = Array.from({ length: 8 }, (_, at) => ({
  flipsRows: (at & 1) > 0,
  flipsColumns: (at & 2) > 0,
  transposes: (at & 4) > 0,
}));

/** Takes the rows of one picture from top to bottom and answers its 64x64 sampled luma. */
export class LumaSampler {
  /**
   * @param {number} width in pixels, at least MIN_SIDE_PIXELS
   * @param {number} height in pixels, at least MIN_SIDE_PIXELS
   * @param {Orientation} orientation mirrored tents give the matrix of the mirrored picture exactly
   */
  constructor(width, height, orientation = UPRIGHT) {
    this.width = width;
    this.height = height;
    this.orientation = orientation;
    this.nextRow = 0;
    this.across = tents(width, orientation.flipsColumns);
    this.down = tents(height, orientation.flipsRows);
    /** @type {Float64Array} row-major 64x64, as stored: samples of flipped sides in reverse */
    this.sampled = new Float64Array(SIDE * SIDE);
    this.row = new Float64Array(SIDE);
    this.first = 0;
    /** @type {WholeWeights | null | undefined} */
    this.rows = undefined;
    /** @type {WholeWeights | null} */
    this.columns = null;
    /** @type {Lanes | undefined} */
    this.lanes = undefined;
  }

  /** @param {Int32Array} luma of the next row */
  addRow(luma) {
    if (this.isNeeded()) this.addLuma(luma, 0);
    this.nextRow++;
  }

  /**
   * A whole picture of bytes at once; the same sums as row by row.
   * @param {Uint8Array} plane luma, one byte a pixel
   * @param {number} offset of the first row
   * @param {number} stride bytes from row to row
   */
  addPlane(plane, offset, stride) {
    const isAligned = (plane.byteOffset + offset) % 4 === 0 && stride % 4 === 0;
    if (this.rows === undefined) {
      this.rows = wholeWeights(this.down, this.height, MAX_LANE_WINDOW);
      this.columns = wholeWeights(this.across, this.width, MAX_LINE_WINDOW);
    }
    if (isAligned && this.rows !== null) {
      this.addWords(plane, offset, stride, this.rows);
      return;
    }
    for (let row = 0; row < this.height; row++) {
      if (this.isNeeded()) this.addLuma(plane, offset + row * stride);
      this.nextRow++;
    }
  }

  /**
   * Four pixels at a time, in two lanes of 16 bits: a video has two million of them in each frame.
   * @param {Uint8Array} plane
   * @param {number} offset
   * @param {number} stride
   * @param {WholeWeights} rows
   */
  addWords(plane, offset, stride, { weights, scale, isWhole }) {
    const { width, down } = this;
    const wordsOfRow = stride >> 2;
    const pixels = new Int32Array(plane.buffer, plane.byteOffset + offset, (stride * (this.height - 1) + width) >> 2);
    this.lanes ??= new Lanes(width);
    const { lanes } = this;
    for (let sample = 0; sample < SIDE; sample++) {
      if (!isWhole[sample]) {
        this.addCutSample(sample, plane, offset, stride);
        continue;
      }
      lanes.begin();
      // A tent is symmetrical: rows of the same weight are added before they are weighed.
      let [weight, upper, lower] = [1, down.start[sample], down.end[sample] - 1];
      for (; lower - upper >= 7; weight += 4, upper += 4, lower -= 4) {
        lanes.addPairs(pixels, upper * wordsOfRow, lower * wordsOfRow, wordsOfRow, weight);
      }
      for (; upper <= lower; upper++) {
        lanes.addRow(pixels, upper * wordsOfRow, weights[down.at[sample] + upper - down.start[sample]]);
      }
      const line = lanes.end();
      // Fewer than four pixels are left on the right.
      for (let row = down.start[sample]; width % 4 > 0 && row < down.end[sample]; row++) {
        const weight = weights[down.at[sample] + row - down.start[sample]];
        for (let x = width - (width % 4); x < width; x++) line[x] += weight * plane[offset + row * stride + x];
      }
      this.setSample(sample, line, scale, this.columns);
    }
  }

  /**
   * A sample whose tent an edge cuts short: one or two in a picture.
   * @param {number} sample
   * @param {Uint8Array} plane
   * @param {number} offset
   * @param {number} stride
   */
  addCutSample(sample, plane, offset, stride) {
    const sums = new Float64Array(this.width);
    for (let row = this.down.start[sample]; row < this.down.end[sample]; row++) {
      const weight = this.down.weight[this.down.at[sample] + row - this.down.start[sample]];
      for (let x = 0; x < sums.length; x++) sums[x] += weight * plane[offset + row * stride + x];
    }
    this.setSample(sample, sums, 1);
  }

  /**
   * @param {number} sample
   * @param {Int32Array | Float64Array} sums of its rows, weighted
   * @param {number} scale of the weights
   * @param {WholeWeights | null} [columns] if their weights may be whole, too
   */
  setSample(sample, sums, scale, columns = null) {
    if (columns === null || !(sums instanceof Int32Array)) this.weighAcross(sums, 0);
    else this.addUpAcross(sums, columns);
    for (let column = 0; column < SIDE; column++) this.sampled[sample * SIDE + column] = this.row[column] * scale;
  }

  /**
   * The 64 samples of one row.
   * @param {Int32Array | Uint8Array | Float64Array} luma
   * @param {number} offset
   */
  weighAcross(luma, offset) {
    for (let sample = 0; sample < SIDE; sample++) this.row[sample] = this.weighed(luma, offset, sample);
  }

  /**
   * @param {Int32Array | Uint8Array | Float64Array} luma
   * @param {number} offset
   * @param {number} sample
   */
  weighed(luma, offset, sample) {
    const { start, end, at, weight } = this.across;
    const stop = end[sample] + offset;
    let sum = 0;
    for (let x = start[sample] + offset, from = at[sample]; x < stop; x++) sum += weight[from++] * luma[x];
    return sum;
  }

  /**
   * The 64 samples of one row of whole numbers. From its middle outwards the sums of a tent's pixels
   * are added up: the middle is in all of them, its edges in one, and nothing is multiplied.
   * @param {Int32Array} line
   * @param {WholeWeights} columns
   */
  addUpAcross(line, { scale, isWhole }) {
    const { row } = this;
    const { start, end } = this.across;
    for (let sample = 0; sample < SIDE; sample++) {
      if (!isWhole[sample]) {
        row[sample] = this.weighed(line, 0, sample);
        continue;
      }
      let left = (start[sample] + end[sample]) >> 1;
      let right = left;
      let sum = line[left];
      let sums = sum;
      while (left > start[sample]) {
        left -= 1;
        right += 1;
        sum = (sum + line[left] + line[right]) | 0;
        sums = (sums + sum) | 0;
      }
      row[sample] = sums * scale;
    }
  }

  /** Makes ready for the next picture of the same size and orientation. */
  restart() {
    this.nextRow = 0;
    this.first = 0;
    this.sampled.fill(0);
  }

  /**
   * The 64x64 matrix of the upright picture.
   * @param {number} [scale] of the luma
   */
  upright(scale = 1) {
    const { flipsRows, flipsColumns, transposes } = this.orientation;
    const matrix = new Float64Array(SIDE * SIDE);
    for (let row = 0; row < SIDE; row++) {
      for (let column = 0; column < SIDE; column++) {
        const i = flipsRows ? SIDE - 1 - row : row;
        const j = flipsColumns ? SIDE - 1 - column : column;
        matrix[transposes ? j * SIDE + i : i * SIDE + j] = this.sampled[row * SIDE + column] * scale;
      }
    }
    return matrix;
  }

  /** Whether any sample looks at the next row; in tall pictures many rows are skipped. */
  isNeeded() {
    while (this.first < SIDE && this.down.end[this.first] <= this.nextRow) this.first++;
    return this.first < SIDE && this.down.start[this.first] <= this.nextRow;
  }

  /**
   * @param {Int32Array | Uint8Array} luma
   * @param {number} offset
   */
  addLuma(luma, offset) {
    const { down, row, sampled } = this;
    this.weighAcross(luma, offset);
    for (let into = this.first; into < SIDE && down.start[into] <= this.nextRow; into++) {
      if (down.end[into] <= this.nextRow) continue;
      const weight = down.weight[down.at[into] + this.nextRow - down.start[into]];
      for (let sample = 0; sample < SIDE; sample++) {
        sampled[into * SIDE + sample] += weight * row[sample];
      }
    }
  }
}

const LANES = 0xff00ff;
/** More, times 255, would not fit into a lane. */
const MAX_LANE_WEIGHT = 257;

/**
 * Rows of bytes, weighed and added up four pixels at a time: the first and the third of each word in
 * the halves of `even`. In `odd` are the second and the fourth, and the third once more, 256 times,
 * which is not masked away in each word but taken off in the end.
 */
class Lanes {
  /** @param {number} width in pixels, of which up to three at the end are left out */
  constructor(width) {
    this.even = new Int32Array(width >> 2);
    this.odd = new Int32Array(width >> 2);
    this.line = new Int32Array(width);
    this.weight = 0;
  }

  begin() {
    this.line.fill(0);
  }

  /**
   * Four pairs of rows, the second pair with one more weight than the first, and so on.
   * @param {Int32Array} pixels
   * @param {number} upper word at which the first of the upper rows begins
   * @param {number} lower word at which the last of the lower rows begins
   * @param {number} stride words from row to row
   * @param {number} weight of the first pair
   */
  addPairs(pixels, upper, lower, stride, weight) {
    this.make(8 * weight + 12);
    const { even, odd } = this;
    for (let at = 0; at < even.length; at++, upper++, lower++) {
      const a = pixels[upper];
      const b = pixels[lower];
      const c = pixels[upper + stride];
      const d = pixels[lower - stride];
      const e = pixels[upper + 2 * stride];
      const f = pixels[lower - 2 * stride];
      const g = pixels[upper + 3 * stride];
      const h = pixels[lower - 3 * stride];
      const evenG = ((g & LANES) + (h & LANES)) | 0;
      const evenE = ((e & LANES) + (f & LANES) + evenG) | 0;
      const evenC = ((c & LANES) + (d & LANES) + evenE) | 0;
      const evenA = ((a & LANES) + (b & LANES) + evenC) | 0;
      even[at] = (even[at] + Math.imul(weight, evenA) + evenC + evenE + evenG) | 0;
      const oddG = ((g >>> 8) + (h >>> 8)) | 0;
      const oddE = ((e >>> 8) + (f >>> 8) + oddG) | 0;
      const oddC = ((c >>> 8) + (d >>> 8) + oddE) | 0;
      const oddA = ((a >>> 8) + (b >>> 8) + oddC) | 0;
      odd[at] = (odd[at] + Math.imul(weight, oddA) + oddC + oddE + oddG) | 0;
    }
  }

  /**
   * @param {Int32Array} pixels
   * @param {number} first word of the row
   * @param {number} weight
   */
  addRow(pixels, first, weight) {
    this.make(weight);
    const { even, odd } = this;
    for (let at = 0; at < even.length; at++) {
      const pixel = pixels[first + at];
      even[at] = (even[at] + Math.imul(weight, pixel & LANES)) | 0;
      odd[at] = (odd[at] + Math.imul(weight, pixel >>> 8)) | 0;
    }
  }

  /**
   * Makes room in the lanes.
   * @param {number} weight that is to be added, at most MAX_LANE_WEIGHT
   */
  make(weight) {
    if (this.weight + weight > MAX_LANE_WEIGHT) this.settle();
    this.weight += weight;
  }

  /** The lanes become sums of pixels. */
  settle() {
    const { even, odd, line } = this;
    for (let at = 0, x = 0; at < even.length; at++, x += 4) {
      const third = even[at] >>> 16;
      const others = (odd[at] - (third << 8)) | 0;
      line[x] = (line[x] + (even[at] & 0xffff)) | 0;
      line[x + 1] = (line[x + 1] + (others & 0xffff)) | 0;
      line[x + 2] = (line[x + 2] + third) | 0;
      line[x + 3] = (line[x + 3] + (others >>> 16)) | 0;
    }
    even.fill(0);
    odd.fill(0);
    this.weight = 0;
  }

  /** @returns {Int32Array} the weighted sums of each column's pixels; 0 in those left out */
  end() {
    this.settle();
    return this.line;
  }
}

/**
 * @typedef {object} WholeWeights of tents, times a whole number
 * @property {Int32Array} weights
 * @property {number} scale of their sums
 * @property {boolean[]} isWhole of each sample: a tent that an edge cuts short has none
 */

/** With larger windows four pairs of rows would not fit into a lane of 16 bits. */
const MAX_LANE_WINDOW = 32;
/** With larger ones the sums of both tents, of bytes, would not fit into 31 bits. */
const MAX_LINE_WINDOW = Math.floor(Math.sqrt(2 ** 31 / 255) / MAX_LANE_WINDOW);

/**
 * Tents that no edge cuts short have whole weights over the square of the window, rising by one
 * up to the middle and falling again.
 * @param {Tents} made
 * @param {number} length
 * @param {number} maxWindow
 * @returns {WholeWeights | null} null if the window is too large
 */
export function wholeWeights(made, length, maxWindow) {
  const window = Math.ceil(length / (2 * SIDE));
  if (window > maxWindow) return null;
  const weights = Int32Array.from(made.weight, (weight) => Math.round(weight * window ** 2));
  const isWhole = Array.from(made.start, (start, sample) => made.end[sample] - start === 2 * window - 1);
  return { weights, scale: 1 / window ** 2, isWhole };
}

const COSINES = Float64Array.from({ length: KEPT * SIDE }, (_, at) => {
  const frequency = Math.floor(at / SIDE) + 1;
  return Math.sqrt(2 / SIDE) * Math.cos((Math.PI / 2 / SIDE) * frequency * (2 * (at % SIDE) + 1));
});
/** The same, transposed. */
const COSINES_DOWN = COSINES.map((_, at) => COSINES[(at % KEPT) * SIDE + Math.floor(at / KEPT)]);

/**
 * Four rows at a time: adding waits for the last sum, so that one alone takes three times as long.
 * @param {Float64Array} left KEPT x SIDE
 * @param {Float64Array} right SIDE x columns
 * @param {number} columns
 * @returns {Float64Array} KEPT x columns
 */
function product(left, right, columns) {
  const made = new Float64Array(KEPT * columns);
  for (let row = 0; row < KEPT; row += 4) {
    for (let column = 0; column < columns; column++) {
      let one = 0;
      let two = 0;
      let three = 0;
      let four = 0;
      for (let k = 0, at = row * SIDE; k < SIDE; k++, at++) {
        const factor = right[k * columns + column];
        one += left[at] * factor;
        two += left[at + SIDE] * factor;
        three += left[at + 2 * SIDE] * factor;
        four += left[at + 3 * SIDE] * factor;
      }
      made[row * columns + column] = one;
      made[(row + 1) * columns + column] = two;
      made[(row + 2) * columns + column] = three;
      made[(row + 3) * columns + column] = four;
    }
  }
  return made;
}

/**
 * The 256 bits of a sampled picture, and how much there is to see in it.
 * @param {Float64Array} sampled row-major 64x64
 * @returns {{hash: Uint8Array, quality: number}} 32 bytes in canonical order; quality 0..100
 */
export function pdqOf(sampled) {
  const half = product(COSINES, sampled, SIDE);
  // Rounded far below what the reference resolves: coefficients that differ only by the order of
  // adding, as in symmetric pictures, are equal on every machine.
  const coefficients = product(half, COSINES_DOWN, KEPT);
  for (let at = 0; at < coefficients.length; at++) coefficients[at] = Math.round(coefficients[at] * GRID) / GRID;
  const median = coefficients.toSorted()[(KEPT * KEPT) / 2 - 1];
  const hash = new Uint8Array(32);
  coefficients.forEach((coefficient, bit) => {
    if (coefficient > median) hash[31 - (bit >> 3)] |= 1 << (bit & 7);
  });
  return { hash, quality: qualityOf(sampled) };
}

/**
 * Gradients summed, as the reference weighs them; below 50 a PDQ says too little to match on.
 * @param {Float64Array} sampled
 */
function qualityOf(sampled) {
  let sum = 0;
  for (let at = 0; at < SIDE * SIDE; at++) {
    if (at < SIDE * (SIDE - 1)) sum += step(sampled[at], sampled[at + SIDE]);
    if (at % SIDE !== SIDE - 1) sum += step(sampled[at], sampled[at + 1]);
  }
  return Math.min(100, Math.floor(sum / 90));
}

/**
 * @param {number} one
 * @param {number} other
 */
function step(one, other) {
  return Math.abs(Math.trunc(Math.fround(Math.fround(Math.fround(Math.fround(one) - Math.fround(other)) * 100) / 255)));
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 * @returns {number} bits in which two hashes differ, 0..256
 */
export function distanceBits(one, other) {
  let bits = 0;
  for (let at = 0; at < one.length; at++) {
    for (let rest = one[at] ^ other[at]; rest; rest &= rest - 1) bits++;
  }
  return bits;
}
