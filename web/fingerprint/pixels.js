/**
 * The luma of a picture's pixels, sampled for its PDQ and added up in cells for its windows.
 *
 * These are the loops that touch every pixel. Luma is linear: what is added up is red, green and
 * blue, two of them in the halves of one word, and only sums of many rows are turned into luma.
 * That takes half the time of a luma for every pixel, and gives the same whole numbers.
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

/** With larger windows the sums of a tent, of luma in thousandths, would not fit into 31 bits. */
const MAX_WHOLE_WINDOW = 91;
/** More, times 255, would not fit into half a word. */
const MAX_WEIGHT = 257;

/**
 * A sample that has begun and not ended.
 * @typedef {{sample: number, sums: Int32Array | Float64Array, scale: number}} Open
 */

/** Rows added up: the first and the third byte in the halves of `outer`, the second in `green`, times 256. */
class Bytes {
  /** @param {number} width */
  constructor(width) {
    this.outer = new Int32Array(width);
    this.green = new Int32Array(width);
  }

  clear() {
    this.outer.fill(0);
    this.green.fill(0);
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
  }

  /**
   * @param {Uint32Array} pixels opaque
   * @param {number} first pixel of the next row
   * @param {number} stride pixels from row to row
   * @param {number} count of rows
   */
  addRows(pixels, first, stride, count) {
    /** @param {number} row */
    const at = (row) => pixels.subarray(first + row * stride, first + row * stride + this.width);
    for (let row = 0; row < count; ) {
      this.begin();
      const slope = this.slope(count - row);
      if (slope === null) {
        this.addToAll(at(row));
        row += 1;
        this.end(1);
        continue;
      }
      const { rows, weight, step } = slope;
      const total = rows === 4 ? 4 * weight + 6 * step : weight;
      if (this.weight + total > MAX_WEIGHT) this.settle();
      this.weight += total;
      if (rows === 4) addFour(this.plain, this.weighted, at(row), at(row + 1), at(row + 2), at(row + 3), weight, step);
      else addOne(this.plain, this.weighted, at(row), weight);
      row += rows;
      this.end(rows);
    }
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
   * Where one sample of whole weights looks at the next row, as nearly always: that row's weight,
   * and whether the next four rise or fall evenly in one row of cells.
   * @param {number} left rows at hand
   * @returns {{rows: 1 | 4, weight: number, step: number} | null}
   */
  slope(left) {
    const { sampler, whole, open, cells } = this;
    if (whole === null || open.length !== 1 || !(open[0].sums instanceof Int32Array)) return null;
    const { down, nextRow } = sampler;
    const { sample } = open[0];
    const at = down.at[sample] + nextRow - down.start[sample];
    const [a, b, c, d] = whole.weights.subarray(at, at + 4);
    const end = Math.min(
      nextRow + left,
      down.end[sample],
      this.begun < SIDE ? down.start[this.begun] : Infinity,
      cells.endOf(nextRow),
    );
    const isEven = end >= nextRow + 4 && b - a === c - b && c - b === d - c && a + b + c + d <= MAX_WEIGHT;
    return { rows: isEven ? 4 : 1, weight: a, step: isEven ? b - a : 0 };
  }

  /**
   * A row at which two samples look, or one that an edge cuts short, or none.
   * @param {Uint32Array} row
   */
  addToAll(row) {
    const { sampler, whole } = this;
    const { down, nextRow } = sampler;
    addOne(this.plain, this.weighted, row, 0);
    if (this.open.length === 0) return;
    const luma = lumaOf(row, OUTER[this.order]);
    for (const { sample, sums } of this.open) {
      const at = down.at[sample] + nextRow - down.start[sample];
      const weight = sums instanceof Int32Array && whole !== null ? whole.weights[at] : down.weight[at];
      for (let x = 0; x < luma.length; x++) sums[x] += weight * luma[x];
    }
  }

  /** @param {number} rows that were added */
  end(rows) {
    const { sampler, cells, plain } = this;
    sampler.nextRow += rows;
    this.plainRows += rows;
    if (sampler.nextRow === cells.endOf(sampler.nextRow - 1) || this.plainRows + 4 > MAX_WEIGHT) {
      addToCells(cells.rowOf(sampler.nextRow - 1), cells, plain, OUTER[this.order]);
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
 * @param {Bytes} plain
 * @param {Bytes} weighted
 * @param {Uint32Array} row
 * @param {number} weight
 */
function addOne(plain, weighted, row, weight) {
  const { outer, green } = plain;
  const { outer: weightedOuter, green: weightedGreen } = weighted;
  for (let x = 0; x < row.length; x++) {
    const pixel = row[x];
    const ends = pixel & 0xff00ff;
    const middle = pixel & 0xff00;
    outer[x] = (outer[x] + ends) | 0;
    green[x] = (green[x] + middle) | 0;
    weightedOuter[x] = (weightedOuter[x] + Math.imul(weight, ends)) | 0;
    weightedGreen[x] = (weightedGreen[x] + Math.imul(weight, middle)) | 0;
  }
}

/**
 * Four rows, each with `step` more weight than the one before.
 * @param {Bytes} plain
 * @param {Bytes} weighted
 * @param {Uint32Array} a
 * @param {Uint32Array} b
 * @param {Uint32Array} c
 * @param {Uint32Array} d
 * @param {number} weight of the first
 * @param {number} step
 */
function addFour(plain, weighted, a, b, c, d, weight, step) {
  const { outer, green } = plain;
  const { outer: weightedOuter, green: weightedGreen } = weighted;
  for (let x = 0; x < a.length; x++) {
    const first = a[x];
    const second = b[x];
    const third = c[x];
    const fourth = d[x];
    const bEnds = second & 0xff00ff;
    const dEnds = fourth & 0xff00ff;
    const cdEnds = ((third & 0xff00ff) + dEnds) | 0;
    const ends = ((first & 0xff00ff) + bEnds + cdEnds) | 0;
    const bMiddle = second & 0xff00;
    const dMiddle = fourth & 0xff00;
    const cdMiddle = ((third & 0xff00) + dMiddle) | 0;
    const middle = ((first & 0xff00) + bMiddle + cdMiddle) | 0;
    outer[x] = (outer[x] + ends) | 0;
    green[x] = (green[x] + middle) | 0;
    // The second row has one step more, the third two, the fourth three.
    const endsSteps = (bEnds + dEnds + cdEnds + cdEnds) | 0;
    const middleSteps = (bMiddle + dMiddle + cdMiddle + cdMiddle) | 0;
    weightedOuter[x] = (weightedOuter[x] + Math.imul(weight, ends) + Math.imul(step, endsSteps)) | 0;
    weightedGreen[x] = (weightedGreen[x] + Math.imul(weight, middle) + Math.imul(step, middleSteps)) | 0;
  }
}

/**
 * @param {Int32Array} luma to be added to, in thousandths
 * @param {Bytes} bytes
 * @param {number[]} weights of the first and the third byte
 */
function addLuma(luma, { outer, green }, [low, high]) {
  for (let x = 0; x < luma.length; x++) {
    const ends = Math.imul(low, outer[x] & 0xffff) + Math.imul(high, outer[x] >>> 16);
    luma[x] = (luma[x] + ends + Math.imul(GREEN, green[x] >>> 8)) | 0;
  }
}

/**
 * @param {Uint32Array} row
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
 * @param {Bytes} bytes of all its rows
 * @param {number[]} weights of the first and the third byte
 */
function addToCells(cells, { side, left }, { outer, green }, [low, high]) {
  for (let column = 0, x = left; column < cells.length; column++) {
    let first = 0;
    let second = 0;
    let third = 0;
    for (const end = x + side; x < end; x++) {
      first = (first + (outer[x] & 0xffff)) | 0;
      second = (second + (green[x] >>> 8)) | 0;
      third = (third + (outer[x] >>> 16)) | 0;
    }
    cells[column] += low * first + GREEN * second + high * third;
  }
}
