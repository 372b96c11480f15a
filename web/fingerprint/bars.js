/** Black bars around a film, found in a few of its frames (docs/protocol/fingerprints.md, "Bars"). */

const BAR_LUMA = 40;
const MIN_BAR = 1 / 50;
const MIN_LEFT = 1 / 4;

/**
 * Luma of a frame, one byte a pixel.
 * @typedef {{bytes: Uint8Array, offset: number, stride: number, width: number, height: number}} Plane
 * @typedef {{left: number, top: number, right: number, bottom: number}} Content in stored pixels
 */

/** The lines of a picture between which every pixel lies that was ever brighter than a bar. */
export class Bright {
  /**
   * @param {number} width
   * @param {number} height
   */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.left = width;
    this.top = height;
    this.right = 0;
    this.bottom = 0;
  }

  /**
   * Looks only beyond the lines found so far: there is little left to look at after one frame.
   * @param {Plane} plane
   */
  add({ bytes, offset, stride, width, height }) {
    if (width !== this.width || height !== this.height) return;
    /** @type {(from: number, to: number, step: number) => boolean} */
    const isDark = (from, to, step) => {
      for (let at = from; at < to; at += step) if (bytes[at] > BAR_LUMA) return false;
      return true;
    };
    /** @param {number} row */
    const isDarkRow = (row) => isDark(offset + row * stride, offset + row * stride + width, 1);
    /** @param {number} column */
    const isDarkColumn = (column) => isDark(offset + column, offset + column + height * stride, stride);
    let line = 0;
    while (line < this.top && isDarkRow(line)) line++;
    this.top = Math.min(this.top, line);
    for (line = height; line > this.bottom && isDarkRow(line - 1); ) line--;
    this.bottom = Math.max(this.bottom, line);
    for (line = 0; line < this.left && isDarkColumn(line); ) line++;
    this.left = Math.min(this.left, line);
    for (line = width; line > this.right && isDarkColumn(line - 1); ) line--;
    this.right = Math.max(this.right, line);
  }

  /** Whether no bar is left that would be cut off. */
  isEverywhere() {
    const [across, down] = [this.width * MIN_BAR, this.height * MIN_BAR];
    const { left, top, right, bottom } = this;
    return left < across && this.width - right < across && top < down && this.height - bottom < down;
  }

  /** @returns {Content} */
  content() {
    const [top, bottom] = edges(this.top, this.bottom, this.height);
    const [left, right] = edges(this.left, this.right, this.width);
    return { left, top, right, bottom };
  }
}

/**
 * @param {number} start first line of the content
 * @param {number} stop one past its last
 * @param {number} length of the side
 * @returns {[number, number]} the same without bars that are too thin, or leave too little
 */
function edges(start, stop, length) {
  if (stop - start < length * MIN_LEFT) return [0, length];
  return [start < length * MIN_BAR ? 0 : start, length - stop < length * MIN_BAR ? length : stop];
}
