/**
 * Windows of a picture that stand around what it shows, so that a cropped copy has them too.
 *
 * The same rule, step by step, as `unspread.fingerprint.windows`
 * (docs/protocol/fingerprints.md, "Windows of a picture").
 */

import { pdqOf, SIDE, UPRIGHT } from './pdq.js';

const MAX_CELLS = 512;
const MAX_WINDOWS = 16;
const MIN_SHARE = 0.3;
const HALF_SIZES = Array.from({ length: 24 }, (_, step) => Math.round(4 * 2 ** (step / 4)));
const WINDOW_PER_HALF_SIZE = 6;
const SLACK = 0.8;
const MIN_CONTRAST = 3;
const NEAR = 0.25;
const ALIKE = [0.7, 1.4];
const MIN_QUALITY = 50;

/** @typedef {{row: number, column: number, reach: number}} Window in cells, from the first edge */

/** The luma of a picture, added up in at most 512 x 512 cells. */
export class CellSums {
  /**
   * @param {number} width in pixels, as stored
   * @param {number} height in pixels, as stored
   * @param {import('./pdq.js').Orientation} orientation
   */
  constructor(width, height, orientation = UPRIGHT) {
    this.side = Math.ceil(Math.max(width, height) / MAX_CELLS);
    this.rows = Math.floor(height / this.side);
    this.columns = Math.floor(width / this.side);
    this.orientation = orientation;
    /** Pixels before the first cell: what is left over stands at the upright picture's end. */
    this.top = orientation.flipsRows ? height % this.side : 0;
    this.left = orientation.flipsColumns ? width % this.side : 0;
    this.cells = new Float64Array(this.rows * this.columns);
  }

  /**
   * @param {number} y row of pixels
   * @returns {Float64Array} the cells to which its luma, in thousandths, is to be added; none
   *   outside the whole rows of cells
   */
  rowOf(y) {
    const row = Math.floor((y - this.top) / this.side);
    const at = row < 0 ? this.cells.length : row * this.columns;
    return this.cells.subarray(at, at + this.columns);
  }

  /**
   * @param {number} y row of pixels
   * @returns {number} the first row of pixels below its row of cells
   */
  endOf(y) {
    return (Math.floor((y - this.top) / this.side) + 1) * this.side + this.top;
  }

  /** The cells of the upright picture. */
  upright() {
    const { rows, columns, cells } = this;
    const { flipsRows, flipsColumns, transposes } = this.orientation;
    if (!flipsRows && !flipsColumns && !transposes) return { rows, columns, cells };
    const turned = new Float64Array(cells.length);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at++) {
        const i = flipsRows ? rows - 1 - row : row;
        const j = flipsColumns ? columns - 1 - column : column;
        turned[transposes ? j * rows + i : i * columns + j] = cells[at];
      }
    }
    return transposes ? { rows: columns, columns: rows, cells: turned } : { rows, columns, cells: turned };
  }

  /** @returns {Table} */
  table() {
    const { side } = this;
    const { rows, columns, cells } = this.upright();
    const wide = columns + 1;
    const sums = new Float64Array((rows + 1) * wide);
    for (let row = 0; row < rows; row++) {
      let across = 0;
      for (let column = 0; column < columns; column++) {
        across += cells[row * columns + column];
        sums[(row + 1) * wide + column + 1] = sums[row * wide + column + 1] + across;
      }
    }
    // Whole numbers below 2**53 until here: exact, and the same on every machine.
    for (let at = 0; at < sums.length; at++) sums[at] /= 1000 * side * side;
    return new Table(sums, rows, columns);
  }
}

/** Sums of luma over every rectangle of cells from the first corner on. */
class Table {
  /**
   * @param {Float64Array} sums (rows + 1) x (columns + 1)
   * @param {number} rows
   * @param {number} columns
   */
  constructor(sums, rows, columns) {
    this.sums = sums;
    this.rows = rows;
    this.columns = columns;
  }

  /**
   * The table between its entries, as if cells were evenly filled.
   * @param {number} row
   * @param {number} column
   */
  between(row, column) {
    const wide = this.columns + 1;
    const i = Math.min(Math.floor(row), this.rows - 1);
    const j = Math.min(Math.floor(column), this.columns - 1);
    const [down, right] = [row - i, column - j];
    const at = i * wide + j;
    const above = this.sums[at] * (1 - right) + this.sums[at + 1] * right;
    const below = this.sums[at + wide] * (1 - right) + this.sums[at + wide + 1] * right;
    return above * (1 - down) + below * down;
  }
}

/**
 * @param {CellSums} cells of a whole picture
 * @returns {{hash: Uint8Array, quality: number}[]} strongest anchor first
 */
export function windowFingerprints(cells) {
  const table = cells.table();
  return windowsOf(table)
    .map((window) => pdqOf(matrixOf(table, window)))
    .filter(({ quality }) => quality >= MIN_QUALITY);
}

/**
 * @param {Table} table
 * @returns {Window[]}
 */
function windowsOf(table) {
  const shorter = Math.min(table.rows, table.columns);
  const smallest = (SLACK * MIN_SHARE * shorter) / (2 * WINDOW_PER_HALF_SIZE);
  const largest = shorter / SLACK / (2 * WINDOW_PER_HALF_SIZE);
  const sizes = HALF_SIZES.filter((_, at) => {
    const smaller = HALF_SIZES[at - 1] ?? 0;
    const larger = HALF_SIZES[at + 1] ?? HALF_SIZES[at];
    return larger >= smallest && smaller <= largest;
  });
  /** @param {number} at */
  const contrastAt = (at) => {
    const level = levels[at % 3];
    fillContrast(level, table, sizes[at], marginOf(sizes[at - 1] ?? sizes[at]) - 1);
    return level;
  };
  // Only three neighbouring sizes are looked at together: their memory is used again.
  const levels = Array.from({ length: 3 }, () => new Float64Array(table.rows * table.columns));
  /** @type {{contrast: number, window: Window}[]} */
  const found = [];
  for (let at = 0; at < sizes.length; at++) {
    const larger = contrastAt(at);
    if (at < 2) continue;
    found.push(...anchors(table, sizes.slice(at - 2, at + 1), [levels[(at - 2) % 3], levels[(at - 1) % 3], larger]));
  }
  found.sort(
    (one, other) =>
      other.contrast - one.contrast ||
      one.window.reach - other.window.reach ||
      one.window.row - other.window.row ||
      one.window.column - other.window.column,
  );
  /** @type {Window[]} */
  const chosen = [];
  for (const { window } of found) {
    if (2 * window.reach < MIN_SHARE * shorter || !isInside(window, table)) continue;
    if (chosen.some((other) => isSame(window, other))) continue;
    chosen.push(window);
    if (chosen.length === MAX_WINDOWS) break;
  }
  return chosen;
}

/**
 * Mean of the square around each cell less that of the ring around it; NaN where that does not fit.
 * @param {Float64Array} contrast one for each cell, to be filled
 * @param {Table} table
 * @param {number} half size of the square
 * @param {number} margin nearer to the edge than this nobody looks
 */
function fillContrast(contrast, table, half, margin) {
  const { rows, columns } = table;
  contrast.fill(NaN);
  const { sums } = table;
  const wide = columns + 1;
  const inner = 2 * half + 1;
  const outer = 4 * half + 1;
  const [innerCells, ringCells] = [inner ** 2, outer ** 2 - inner ** 2];
  const first = Math.max(0, margin - 2 * half);
  for (let row = first; row + outer + first <= rows; row++) {
    // The corners of both squares, walking along the row: this is most of the search.
    const above = sums.subarray(row * wide + first, (row + 1) * wide - first);
    const below = sums.subarray((row + outer) * wide + first, (row + outer + 1) * wide - first);
    const top = sums.subarray((row + half) * wide + first + half, (row + half + 1) * wide);
    const bottom = sums.subarray((row + half + inner) * wide + first + half, (row + half + inner + 1) * wide);
    const into = contrast.subarray((row + 2 * half) * columns + first + 2 * half);
    for (let at = 0, right = outer; right < above.length; at++, right++) {
      const around = below[right] - above[right] - below[at] + above[at];
      const within = bottom[at + inner] - top[at + inner] - bottom[at] + top[at];
      into[at] = within / innerCells - (around - within) / ringCells;
    }
  }
}

/**
 * A window that begins outside the picture is of no use: its middle need not be looked at.
 * @param {number} size
 */
function marginOf(size) {
  return Math.max(1, Math.floor(WINDOW_PER_HALF_SIZE * SLACK * size));
}

/**
 * Each place that stands out from its 26 neighbours.
 * @param {Table} table
 * @param {number[]} sizes smaller, this one, larger
 * @param {Float64Array[]} contrasts of each
 */
function anchors(table, sizes, contrasts) {
  const { rows, columns } = table;
  const [smaller, here, larger] = contrasts;
  const margin = marginOf(sizes[1]);
  const logarithms = sizes.map((size) => Math.log2(size + 0.5));
  /** @type {{contrast: number, window: Window}[]} */
  const found = [];
  for (let row = margin; row < rows - margin; row++) {
    for (let column = margin; column < columns - margin; column++) {
      const at = row * columns + column;
      const value = here[at];
      // Most places end here, without a call: at NaN too.
      if (value > MIN_CONTRAST) {
        if (larger[at] > value || smaller[at] > value) continue;
        if (here[at + 1] > value || here[at - 1] > value || here[at + columns] > value) continue;
      } else if (value < -MIN_CONTRAST) {
        if (larger[at] < value || smaller[at] < value) continue;
        if (here[at + 1] < value || here[at - 1] < value || here[at + columns] < value) continue;
      } else continue;
      const sign = Math.sign(value);
      const strength = Math.abs(value);
      if (!isHighest(here, at, columns, sign, strength)) continue;
      if (!isHighest(smaller, at, columns, sign, strength) || !isHighest(larger, at, columns, sign, strength)) continue;
      /** @param {number} step */
      const shift = (step) => peak([-1, 0, 1], [sign * here[at - step], sign * here[at], sign * here[at + step]]);
      const size = 2 ** peak(logarithms, [sign * smaller[at], sign * here[at], sign * larger[at]]);
      const window = {
        row: row + 0.5 + shift(columns),
        column: column + 0.5 + shift(1),
        reach: size * WINDOW_PER_HALF_SIZE,
      };
      found.push({ contrast: strength, window });
    }
  }
  return found;
}

/**
 * @param {Float64Array} level
 * @param {number} at
 * @param {number} columns
 * @param {number} sign
 * @param {number} strength
 */
function isHighest(level, at, columns, sign, strength) {
  for (let row = at - columns; row <= at + columns; row += columns) {
    // Where the ring does not fit there is nothing to compare: NaN is not greater.
    if (sign * level[row - 1] > strength || sign * level[row] > strength || sign * level[row + 1] > strength) {
      return false;
    }
  }
  return true;
}

/**
 * Where the parabola through three points is highest, halfway to a neighbour at most; the middle
 * one if it has no such place.
 * @param {number[]} at
 * @param {number[]} values
 */
function peak(at, values) {
  const left = at[1] - at[0];
  const right = at[2] - at[1];
  const fallsLeft = values[1] - values[0];
  const fallsRight = values[1] - values[2];
  const bend = fallsLeft * right + fallsRight * left;
  if (!(Number.isFinite(bend) && bend > 0)) return at[1];
  const shift = (fallsLeft * right ** 2 - fallsRight * left ** 2) / (2 * bend);
  return at[1] + Math.min(Math.max(shift, -left / 2), right / 2);
}

/**
 * @param {Window} window
 * @param {Table} table
 */
function isInside({ row, column, reach }, table) {
  return reach <= Math.min(row, column) && row + reach <= table.rows && column + reach <= table.columns;
}

/**
 * @param {Window} one
 * @param {Window} other
 */
function isSame(one, other) {
  const near = NEAR * (one.reach + other.reach);
  const proportion = one.reach / other.reach;
  return (
    Math.abs(one.row - other.row) < near &&
    Math.abs(one.column - other.column) < near &&
    ALIKE[0] < proportion &&
    proportion < ALIKE[1]
  );
}

/**
 * Mean luma in 64 x 64 equal squares of a window.
 * @param {Table} table
 * @param {Window} window
 */
function matrixOf(table, { row, column, reach }) {
  const edges = SIDE + 1;
  const sums = new Float64Array(edges * edges);
  for (let i = 0; i < edges; i++) {
    const y = Math.min(Math.max(row + reach * (i / (SIDE / 2) - 1), 0), table.rows);
    for (let j = 0; j < edges; j++) {
      const x = Math.min(Math.max(column + reach * (j / (SIDE / 2) - 1), 0), table.columns);
      sums[i * edges + j] = table.between(y, x);
    }
  }
  const area = ((2 * reach) / SIDE) ** 2;
  const matrix = new Float64Array(SIDE * SIDE);
  for (let i = 0; i < SIDE; i++) {
    for (let j = 0; j < SIDE; j++) {
      const at = i * edges + j;
      const below = sums[at + edges + 1] - sums[at + 1];
      matrix[i * SIDE + j] = (below - (sums[at + edges] - sums[at])) / area;
    }
  }
  return matrix;
}
