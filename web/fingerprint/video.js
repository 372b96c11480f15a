/**
 * Fingerprints of a video: SHA-256 and MD5 of the file, and PDQ of every frame's decoded luma.
 *
 * Luma is what the decoder's specification fixes to the bit, so that every browser and platform
 * agrees; colours would depend on who converts them. Files of gigabytes are read in slices.
 */

import { BlobSource, EncodedPacketSink, Input, MATROSKA, MP4, QTFF, VideoSampleSink, WEBM } from '../vendor/mediabunny.js';
import { Bright } from './bars.js';
import { Dense } from './dense.js';
import { digests } from './digest.js';
import { StoppedError, toHex, UnreadableMediaError } from './media.js';
import { LumaSampler, MIN_SIDE_PIXELS, pdqOf } from './pdq.js';

/**
 * @typedef {import('./media.js').Watch} Watch
 * @typedef {import('./pdq.js').Orientation} Orientation
 * @typedef {import('mediabunny').VideoSample} Sample
 * @typedef {import('mediabunny').InputVideoTrack} Track
 * @typedef {import('./bars.js').Content} Content
 * @typedef {import('./bars.js').Plane} Plane
 */

const BAR_SAMPLES = 8;

/** Luma of limited range is 16..235 (ITU-R BT.601, 2.5.1). */
const LIMITED_TO_FULL = 255 / 219;

/** Of the work; reading for digests is cheap beside decoding. */
const DIGEST_SHARE = 0.1;

/**
 * @param {Blob} file
 * @param {Watch} watch
 * @returns {Promise<import('./media.js').MediaFingerprint>}
 */
export async function videoFingerprints(file, watch) {
  const input = new Input({ source: new BlobSource(file), formats: [MP4, QTFF, WEBM, MATROSKA] });
  try {
    const track = await firstTrack(input);
    if (typeof VideoDecoder === 'undefined' || !(await track.canDecode())) {
      return { media: 'video', fingerprints: await digests(file, watch), notes: ['no_decoder'] };
    }
    let isCapped = false;
    // The decoder works in threads of its own: there is time for the digests while it does.
    const [pdq, digest] = await watch.beside(
      [
        1 - DIGEST_SHARE,
        async (part) => {
          const dense = await frames(input, track, part);
          isCapped = dense.isCapped();
          return dense.result().map(fingerprintOf);
        },
      ],
      [DIGEST_SHARE, (part) => digests(file, part)],
    );
    return { media: 'video', fingerprints: [...pdq, ...digest], notes: isCapped ? ['frames_capped'] : [] };
  } catch (error) {
    if (error instanceof UnreadableMediaError || error instanceof StoppedError) throw error;
    // What the container reader and the decoder throw differs from browser to browser.
    throw new UnreadableMediaError('damaged');
  } finally {
    input.dispose();
  }
}

/**
 * @param {import('./dense.js').Frame} frame
 * @returns {import('./media.js').Fingerprint}
 */
function fingerprintOf({ hash, quality }) {
  return { kind: 'pdq', value: toHex(hash), part: 'frame', quality };
}

/**
 * The first moving picture; a cover is none, and has no codec that mediabunny knows.
 * @param {Input} input
 */
async function firstTrack(input) {
  let tracks;
  try {
    tracks = await input.getVideoTracks();
  } catch {
    throw new UnreadableMediaError('damaged');
  }
  for (const track of tracks) if ((await track.getCodec()) !== null) return track;
  if (tracks.length === 0) throw new UnreadableMediaError('not_media');
  return tracks[0];
}

/**
 * @param {Input} input
 * @param {Track} track
 * @param {Watch} watch
 */
async function frames(input, track, watch) {
  const duration = await input.computeDuration();
  const sink = new VideoSampleSink(track);
  const content = await contentWithoutBars(track, sink, duration);
  const dense = new Dense();
  /** @type {LumaSampler | null} */
  let sampler = null;
  const reader = new PlaneReader();
  let first = NaN;
  let last = 0;
  for await (const sample of sink.samples(-Infinity)) {
    // Before what an edit list lets be seen.
    if (sample.timestamp < 0) {
      sample.close();
      continue;
    }
    await nextTurn();
    let plane;
    try {
      plane = cut(await reader.read(sample), content);
      if (Number.isNaN(first)) first = sample.timestamp;
      last = Math.max(last, sample.timestamp - first);
      if (Math.min(plane.width, plane.height) < MIN_SIDE_PIXELS) throw new UnreadableMediaError('too_small');
      if (sampler?.width !== plane.width || sampler.height !== plane.height) {
        sampler = new LumaSampler(plane.width, plane.height, orientationOf(sample));
      }
    } finally {
      sample.close();
    }
    sampler.restart();
    sampler.addPlane(plane.bytes, plane.offset, plane.stride);
    dense.add(pdqOf(sampler.upright(sample.colorSpace.fullRange ? 1 : LIMITED_TO_FULL)));
    watch.progress(last / duration);
  }
  const isCutShort = last < 0.5 * duration - 2;
  if (dense.result().length === 0 || isCutShort) throw new UnreadableMediaError('damaged');
  return dense;
}

const { port1, port2 } = new MessageChannel();

/**
 * Lets the event loop turn: what follows a frame at once runs before this thread has told the decoder
 * to go on, which would then stand still meanwhile.
 * @returns {Promise<unknown>}
 */
function nextTurn() {
  return new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
}

/**
 * The turn that makes stored frames upright: mediabunny's rotation is clockwise, its flip comes after.
 * @param {Sample} sample
 * @returns {Orientation}
 */
function orientationOf({ rotation, flip }) {
  const transposes = rotation === 90 || rotation === 270;
  const flipsRows = rotation === 90 || rotation === 180;
  const flipsColumns = rotation === 180 || rotation === 270;
  return {
    flipsRows: flipsRows !== (flip && transposes),
    flipsColumns: flipsColumns !== (flip && !transposes),
    transposes,
  };
}

/** Reads luma out of decoded frames, into one buffer that is used again. */
class PlaneReader {
  constructor() {
    this.buffer = new Uint8Array(0);
    this.eight = new Uint8Array(0);
  }

  /**
   * @param {Sample} sample
   * @returns {Promise<Plane>}
   */
  async read(sample) {
    const { width, height } = sample.visibleRect;
    const size = sample.allocationSize();
    if (this.buffer.length !== size) this.buffer = new Uint8Array(size);
    const [{ offset, stride }] = await sample.copyTo(this.buffer);
    const format = sample.format ?? '';
    if (/^(RGB|BGR)/.test(format)) {
      return this.weigh(offset, stride, width, height, format, sample.colorSpace.matrix === 'bt709');
    }
    const bits = Number(/P(1[02])$/.exec(format)?.[1] ?? 8);
    if (bits === 8) return { bytes: this.buffer, offset, stride, width, height };
    this.reserve(width * height);
    const words = new Uint16Array(this.buffer.buffer, offset, (stride / 2) * height);
    for (let row = 0; row < height; row++) {
      for (let x = 0; x < width; x++) this.eight[row * width + x] = words[(row * stride) / 2 + x] >> (bits - 8);
    }
    return { bytes: this.eight, offset: 0, stride: width, width, height };
  }

  /**
   * Firefox hands out converted colours: back to luma with the weights of the stream's matrix.
   * @param {number} offset
   * @param {number} stride
   * @param {number} width
   * @param {number} height
   * @param {string} format
   * @param {boolean} is709
   * @returns {Plane}
   */
  weigh(offset, stride, width, height, format, is709) {
    this.reserve(width * height);
    const [red, green, blue] = is709 ? [0.2126, 0.7152, 0.0722] : [0.299, 0.587, 0.114];
    const [first, third] = format.startsWith('RGB') ? [red, blue] : [blue, red];
    for (let row = 0; row < height; row++) {
      for (let x = 0, at = offset + row * stride; x < width; x++, at += 4) {
        const luma = first * this.buffer[at] + green * this.buffer[at + 1] + third * this.buffer[at + 2];
        this.eight[row * width + x] = Math.round(luma);
      }
    }
    return { bytes: this.eight, offset: 0, stride: width, width, height };
  }

  /** @param {number} size */
  reserve(size) {
    if (this.eight.length < size) this.eight = new Uint8Array(size);
  }
}

/**
 * @param {Plane} plane
 * @param {Content | null} content
 * @returns {Plane}
 */
function cut(plane, content) {
  if (content === null || content.right > plane.width || content.bottom > plane.height) return plane;
  return {
    bytes: plane.bytes,
    offset: plane.offset + content.top * plane.stride + content.left,
    stride: plane.stride,
    width: content.right - content.left,
    height: content.bottom - content.top,
  };
}

/**
 * What is left without the bars that are black in 8 keyframes across the film: those at or before
 * (k + 1/2) / 8 of its duration.
 * @param {Track} track
 * @param {VideoSampleSink} sink
 * @param {number} duration
 * @returns {Promise<Content | null>}
 */
async function contentWithoutBars(track, sink, duration) {
  const packets = new EncodedPacketSink(track);
  const reader = new PlaneReader();
  /** @type {Bright | null} */
  let bright = null;
  /** @type {Set<number>} */
  const moments = new Set();
  for (let step = 0; step < (duration > 0 ? BAR_SAMPLES : 1); step++) {
    const packet =
      (await packets.getKeyPacket((duration * (step + 0.5)) / BAR_SAMPLES)) ??
      (await packets.getFirstKeyPacket());
    if (packet !== null) moments.add(packet.timestamp);
  }
  for (const moment of moments) {
    const sample = await sink.getSample(moment);
    if (sample === null) continue;
    const plane = await reader.read(sample);
    sample.close();
    bright ??= new Bright(plane.width, plane.height);
    bright.add(plane);
    // Nothing that follows brings a bar back: most films need one keyframe.
    if (bright.isEverywhere()) return null;
  }
  return bright === null ? null : bright.content();
}
