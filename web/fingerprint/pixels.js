/**
 * The luma of a picture's pixels, sampled for its PDQ and added up in cells for its windows.
 *
 * These are the loops that touch every pixel. Luma is linear: what is added up is red, green and
 * blue, and only sums of many rows are turned into luma. That takes a fraction of the time of a luma
 * for every pixel, and gives the same whole numbers.
 */

import { LumaSampler, SIDE, wholeWeights } from './pdq.js';

/** Of luma in thousandths, so that sums are whole numbers. */
const LUMA_SCALE = 1 / 1000;

/**
 * Which colours stand in the first three bytes of a pixel; the fourth is not looked at.
 * @typedef {'rgb' | 'bgr'} Order
 */

/** Luma in thousandths (ITU-R BT.601, 2.5.1): of the first byte and the third, and of the second. */
const OUTER = { rgb: [299, 114], bgr: [114, 299] };
const GREEN = 587;
const OUTER_BYTES = 0xff00ff;

/** With larger windows the sums of a tent, of luma in thousandths, would not fit into 31 bits. */
const MAX_WHOLE_WINDOW = 91;
/** More, times 255, would not fit into half a word. */
const MAX_WEIGHT = 257;

/**
 * A sample that has begun and not ended.
 * @typedef {{sample: number, sums: Int32Array | Float64Array, scale: number}} Open
 * Rows of which each has `step` more weight than the one before, `total` together.
 * @typedef {{rows: number, weight: number, step: number, total: number}} Slope
 */

/** As many rows are added in one pass. */
const PASS_ROWS = 8;

/**
 * Rows added up: the first and the third byte of each pixel in the halves of `outer`, and the words
 * as they are in `all`. What these are more is the second byte, 256 times, and a multiple of 2**24.
 */
class Bytes {
  /** @param {number} width */
  constructor(width) {
    this.outer = new Int32Array(width);
    this.all = new Int32Array(width);
  }

  clear() {
    this.outer.fill(0);
    this.all.fill(0);
  }
}

/**
 * Samples a picture from its pixels. Each row is added to the sums of the one or two samples that
 * look at it, and only a finished sum is weighed across. The samples are those of `LumaSampler`.
 */
export class PixelSampler {
  /**
   * @param {number} width in pixels, at least MIN_SIDE_PIXELS
   * @param {number} height in pixels, at least MIN_SIDE_PIXELS
   * @param {import('./windows.js').CellSums} cells to which the luma is added; theirs is the orientation
   * @param {Order} order of the pixels' bytes
   */
  constructor(width, height, cells, order = 'rgb') {
    this.width = width;
    this.cells = cells;
    this.order = order;
    this.sampler = new LumaSampler(width, height, cells.orientation);
    this.whole = wholeWeights(this.sampler.down, height, MAX_WHOLE_WINDOW);
    /** @type {Open[]} */
    this.open = [];
    this.begun = 0;
    /** The rows of one row of cells, or as many of them as its words hold. */
    this.plain = new Bytes(width);
    this.plainRows = 0;
    /** Weighted rows of the first open sample that are not in its sums yet. */
    this.weighted = new Bytes(width);
    this.weight = 0;
    this.nothing = new Int32Array(width);
  }

  /**
   * @param {Int32Array} pixels opaque
   * @param {number} first pixel of the next row
   * @param {number} stride pixels from row to row
   * @param {number} count of rows
   */
  addRows(pixels, first, stride, count) {
    /** @param {number} row */
    const at = (row) => pixels.subarray(first + row * stride, first + row * stride + this.width);
    for (let row = 0; row < count; ) {
      this.begin();
      const alike = this.alike(count - row);
      const slope = this.slope(alike);
      const rows = Array.from({ length: slope?.rows ?? alike }, (_, each) => at(row + each));
      if (slope === null) this.addToAll(rows);
      else this.addToOne(rows, slope);
      row += rows.length;
      this.end(rows.length);
    }
  }

  /**
   * @param {Int32Array[]} rows up to PASS_ROWS
   * @param {number} weight of the first
   * @param {number} step by which that of each next one is more
   */
  add(rows, weight, step) {
    const { plain, weighted, nothing } = this;
    const [a, b = nothing, c = nothing, d = nothing, e = nothing, f = nothing, g = nothing, h = nothing] = rows;
    addRows(plain, weighted, a, b, c, d, e, f, g, h, weight, step);
  }

  /** Opens the samples that look at the next row. */
  begin() {
    const { sampler, whole } = this;
    for (; this.begun < SIDE && sampler.down.start[this.begun] <= sampler.nextRow; this.begun++) {
      const sample = this.begun;
      if (whole?.isWhole[sample]) this.open.push({ sample, sums: new Int32Array(this.width), scale: whole.scale });
      else this.open.push({ sample, sums: new Float64Array(this.width), scale: 1 });
    }
  }

  /**
   * In how many of the next rows no sample begins or ends, nor a row of cells.
   * @param {number} left rows at hand
   */
  alike(left) {
    const { sampler, open, cells } = this;
    const { down, nextRow } = sampler;
    let end = Math.min(nextRow + Math.min(left, PASS_ROWS), cells.endOf(nextRow));
    if (this.begun < SIDE) end = Math.min(end, down.start[this.begun]);
    for (const { sample } of open) end = Math.min(end, down.end[sample]);
    return end - nextRow;
  }

  /**
   * Where one sample of whole weights looks at the next row, as nearly always: that row's weight,
   * and in how many rows it rises or falls evenly.
   * @param {number} most rows
   * @returns {Slope | null}
   */
  slope(most) {
    const { sampler, whole, open } = this;
    if (whole === null || open.length !== 1 || !(open[0].sums instanceof Int32Array)) return null;
    const { down, nextRow } = sampler;
    const { sample } = open[0];
    const { weights } = whole;
    const at = down.at[sample] + nextRow - down.start[sample];
    const step = most > 1 ? weights[at + 1] - weights[at] : 0;
    let rows = 1;
    let total = weights[at];
    for (; rows < most && weights[at + rows] - weights[at + rows - 1] === step; rows++) {
      if (total + weights[at + rows] > MAX_WEIGHT) break;
      total += weights[at + rows];
    }
    return { rows, weight: weights[at], step, total };
  }

  /**
   * @param {Int32Array[]} rows
   * @param {Slope} slope
   */
  addToOne(rows, { weight, step, total }) {
    if (this.weight + total > MAX_WEIGHT) this.settle();
    this.weight += total;
    this.add(rows, weight, step);
  }

  /**
   * Rows at which two samples look, or one that an edge cuts short, or none.
   * @param {Int32Array[]} rows
   */
  addToAll(rows) {
    const { sampler, whole, open } = this;
    const { down, nextRow } = sampler;
    this.add(rows, 0, 0);
    for (let row = 0; open.length > 0 && row < rows.length; row++) {
      const luma = lumaOf(rows[row], OUTER[this.order]);
      for (const { sample, sums } of open) {
        const at = down.at[sample] + nextRow + row - down.start[sample];
        const weight = sums instanceof Int32Array && whole !== null ? whole.weights[at] : down.weight[at];
        for (let x = 0; x < luma.length; x++) sums[x] += weight * luma[x];
      }
    }
  }

  /** @param {number} rows that were added */
  end(rows) {
    const { sampler, cells, plain } = this;
    sampler.nextRow += rows;
    this.plainRows += rows;
    if (sampler.nextRow === cells.endOf(sampler.nextRow - 1) || this.plainRows + PASS_ROWS > MAX_WEIGHT) {
      addToCells(cells.rowOf(sampler.nextRow - 1), cells, plain, this.plainRows, OUTER[this.order]);
      plain.clear();
      this.plainRows = 0;
    }
    this.open = this.open.filter(({ sample, sums, scale }) => {
      if (sampler.down.end[sample] > sampler.nextRow) return true;
      this.settle();
      sampler.setSample(sample, sums, scale);
      return false;
    });
  }

  /** The weighted rows become luma of the first open sample. */
  settle() {
    if (this.weight === 0) return;
    addLuma(/** @type {Int32Array} */ (this.open[0].sums), this.weighted, OUTER[this.order]);
    this.weighted.clear();
    this.weight = 0;
  }

  /** The 64x64 matrix of the luma, 0..255. */
  matrix() {
    return this.sampler.upright(LUMA_SCALE);
  }
}

/**
 * Eight rows. From the last upwards they are added up, and so are the sums before each next row: in
 * these a row is as many times as its place says, which is how much its weight is more.
 * @param {Bytes} plain
 * @param {Bytes} weighted
 * @param {Int32Array} a
 * @param {Int32Array} b
 * @param {Int32Array} c
 * @param {Int32Array} d
 * @param {Int32Array} e
 * @param {Int32Array} f
 * @param {Int32Array} g
 * @param {Int32Array} h
 * @param {number} weight of the first
 * @param {number} step by which that of each next one is more
 */
function addRows(plain, weighted, a, b, c, d, e, f, g, h, weight, step) {
  const { outer: plainOuter, all: plainAll } = plain;
  const { outer: weightedOuter, all: weightedAll } = weighted;
  for (let x = 0; x < plainOuter.length; x++) {
    let all = h[x];
    let outer = all & OUTER_BYTES;
    let allSteps = all;
    let outerSteps = outer;
    let pixel = g[x];
    all = (all + pixel) | 0;
    outer = (outer + (pixel & OUTER_BYTES)) | 0;
    allSteps = (allSteps + all) | 0;
    outerSteps = (outerSteps + outer) | 0;
    pixel = f[x];
    all = (all + pixel) | 0;
    outer = (outer + (pixel & OUTER_BYTES)) | 0;
    allSteps = (allSteps + all) | 0;
    outerSteps = (outerSteps + outer) | 0;
    pixel = e[x];
    all = (all + pixel) | 0;
    outer = (outer + (pixel & OUTER_BYTES)) | 0;
    allSteps = (allSteps + all) | 0;
    outerSteps = (outerSteps + outer) | 0;
    pixel = d[x];
    all = (all + pixel) | 0;
    outer = (outer + (pixel & OUTER_BYTES)) | 0;
    allSteps = (allSteps + all) | 0;
    outerSteps = (outerSteps + outer) | 0;
    pixel = c[x];
    all = (all + pixel) | 0;
    outer = (outer + (pixel & OUTER_BYTES)) | 0;
    allSteps = (allSteps + all) | 0;
    outerSteps = (outerSteps + outer) | 0;
    pixel = b[x];
    all = (all + pixel) | 0;
    outer = (outer + (pixel & OUTER_BYTES)) | 0;
    allSteps = (allSteps + all) | 0;
    outerSteps = (outerSteps + outer) | 0;
    pixel = a[x];
    all = (all + pixel) | 0;
    outer = (outer + (pixel & OUTER_BYTES)) | 0;
    plainAll[x] = (plainAll[x] + all) | 0;
    plainOuter[x] = (plainOuter[x] + outer) | 0;
    weightedAll[x] = (weightedAll[x] + Math.imul(weight, all) + Math.imul(step, allSteps)) | 0;
    weightedOuter[x] = (weightedOuter[x] + Math.imul(weight, outer) + Math.imul(step, outerSteps)) | 0;
  }
}

/**
 * The second byte's sum.
 * @param {number} outer of `Bytes`
 * @param {number} all
 */
function secondOf(outer, all) {
  return ((all - outer) >>> 8) & 0xffff;
}

/**
 * @param {Int32Array} luma to be added to, in thousandths
 * @param {Bytes} bytes
 * @param {number[]} weights of the first and the third byte
 */
function addLuma(luma, { outer, all }, [low, high]) {
  for (let x = 0; x < luma.length; x++) {
    const ends = Math.imul(low, outer[x] & 0xffff) + Math.imul(high, outer[x] >>> 16);
    luma[x] = (luma[x] + ends + Math.imul(GREEN, secondOf(outer[x], all[x]))) | 0;
  }
}

/**
 * @param {Int32Array} row
 * @param {number[]} weights of the first and the third byte
 */
function lumaOf(row, [low, high]) {
  const luma = new Int32Array(row.length);
  for (let x = 0; x < row.length; x++) {
    const pixel = row[x];
    const ends = Math.imul(low, pixel & 255) + Math.imul(high, (pixel >>> 16) & 255);
    luma[x] = (ends + Math.imul(GREEN, (pixel >>> 8) & 255)) | 0;
  }
  return luma;
}

/**
 * What is left beside the whole cells belongs to none.
 * @param {Float64Array} cells of one row
 * @param {{side: number, left: number}} place pixels of a cell, and before the first one
 * @param {Bytes} bytes of `rows` of its rows
 * @param {number} rows
 * @param {number[]} weights of the first and the third byte
 */
function addToCells(cells, { side, left }, { outer, all }, rows, [low, high]) {
  // As many columns as fit into the same words.
  const most = Math.floor(MAX_WEIGHT / rows);
  for (let column = 0, x = left; column < cells.length; column++) {
    for (const end = x + side; x < end; ) {
      let ends = 0;
      let words = 0;
      for (const stop = Math.min(end, x + most); x < stop; x++) {
        ends = (ends + outer[x]) | 0;
        words = (words + all[x]) | 0;
      }
      cells[column] += low * (ends & 0xffff) + GREEN * secondOf(ends, words) + high * (ends >>> 16);
    }
  }
}
