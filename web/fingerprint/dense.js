/**
 * Every frame's fingerprint, with neighbours that look alike collapsed as they come; the same
 * rules as `unspread.fingerprint.video.Dense` (docs/protocol/fingerprints.md).
 */

import { distanceBits } from './pdq.js';

const COLLAPSE_BITS = 16;
const COLLAPSE_STEP_BITS = 4;
const MAX_COLLAPSE_BITS = 28;
const MIN_QUALITY = 50;
const MAX_FRAMES_KEPT = 2048;

/** @typedef {{hash: Uint8Array, quality: number}} Frame */

export class Dense {
  /** @param {number} maxKept */
  constructor(maxKept = MAX_FRAMES_KEPT) {
    this.maxKept = maxKept;
    this.collapseBits = COLLAPSE_BITS;
    /** Of the frames that do not look alike, how many make one. */
    this.every = 1;
    /** @type {Frame[]} */
    this.kept = [];
    /** @type {Frame | null} the best of those that show too little */
    this.best = null;
    this.passed = 0;
  }

  /** @param {Frame} frame the next one */
  add(frame) {
    if (frame.quality < MIN_QUALITY) {
      if (this.best === null || frame.quality > this.best.quality) this.best = frame;
      return;
    }
    if (this.isLikeLast(frame)) return;
    this.passed++;
    if (this.passed % this.every !== 0) return;
    this.kept.push(frame);
    if (this.kept.length > this.maxKept) this.thin();
  }

  isCapped() {
    return this.collapseBits > COLLAPSE_BITS || this.every > 1;
  }

  /** At least one frame, if there was any. */
  result() {
    return this.kept.length > 0 || this.best === null ? this.kept : [this.best];
  }

  /** @param {Frame} frame */
  isLikeLast(frame) {
    const last = this.kept.at(-1);
    return last !== undefined && distanceBits(last.hash, frame.hash) <= this.collapseBits;
  }

  thin() {
    if (this.collapseBits < MAX_COLLAPSE_BITS) {
      this.collapseBits += COLLAPSE_STEP_BITS;
      const before = this.kept;
      this.kept = [];
      for (const frame of before) {
        if (!this.isLikeLast(frame)) this.kept.push(frame);
      }
    }
    if (this.kept.length > this.maxKept) {
      this.kept = this.kept.filter((_, at) => at % 2 === 0);
      this.every *= 2;
      this.passed = 0;
    }
  }
}
