/**
 * Cutting a part out of a screenshot, by sliders alone: they work with fingers, keys and screen
 * readers. The picture is heavily blurred, and seen only while a button is held.
 */

import { withoutProfile } from '../fingerprint/container.js';
import { kindOf, UnreadableMediaError } from '../fingerprint/media.js';
import { UPRIGHT } from '../fingerprint/pdq.js';
import { byId } from './element.js';

const VIEW_PIXELS = 480;
const EDGES = /** @type {const} */ (['left', 'right', 'top', 'bottom']);

const dialog = byId('crop', HTMLDialogElement);
const canvas = byId('crop-view', HTMLCanvasElement);
const use = byId('crop-use', HTMLButtonElement);
const cancel = byId('crop-cancel', HTMLButtonElement);
const look = byId('crop-look', HTMLButtonElement);
const sliders = EDGES.map((edge) => byId(`crop-${edge}`, HTMLInputElement));

/** @type {ImageBitmap | null} */
let picture = null;
/** In which it is to be seen. */
let orientation = UPRIGHT;

/** @returns {import('../fingerprint/picture.js').Part} */
function part() {
  const [left, right, top, bottom] = sliders.map((slider) => slider.valueAsNumber / 100);
  return { left, top, right: 1 - right, bottom: 1 - bottom };
}

function draw() {
  const context = canvas.getContext('2d');
  if (context === null || picture === null) return;
  const { width, height } = canvas;
  const { left, top, right, bottom } = part();
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  drawUpright(context, picture);
  context.fillStyle = 'rgb(20 30 40 / 85%)';
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  context.fill('evenodd');
}

/**
 * @param {CanvasRenderingContext2D} context of a canvas that it fills
 * @param {ImageBitmap} bitmap
 */
function drawUpright(context, bitmap) {
  const { flipsRows, flipsColumns, transposes } = orientation;
  const { width, height } = context.canvas;
  context.save();
  if (transposes) context.transform(0, 1, 1, 0, 0, 0);
  const [across, down] = transposes ? [height, width] : [width, height];
  context.transform(flipsColumns ? -1 : 1, 0, 0, flipsRows ? -1 : 1, flipsColumns ? across : 0, flipsRows ? down : 0);
  context.drawImage(bitmap, 0, 0, across, down);
  context.restore();
}

/** Opposite edges keep a tenth of the picture between them. */
for (const [at, slider] of sliders.entries()) {
  slider.addEventListener('input', () => {
    const opposite = sliders[at ^ 1];
    slider.valueAsNumber = Math.min(slider.valueAsNumber, 90 - opposite.valueAsNumber);
    draw();
  });
}

function blur() {
  canvas.classList.add('blurred');
}

function reveal() {
  canvas.classList.remove('blurred');
}

look.addEventListener('pointerdown', reveal);
look.addEventListener('keydown', (event) => {
  if (event.key === ' ' || event.key === 'Enter') reveal();
});
for (const end of ['pointerup', 'pointercancel', 'pointerleave', 'keyup', 'blur']) {
  look.addEventListener(end, blur);
}

/**
 * @param {Blob} file
 * @returns {Promise<import('../fingerprint/picture.js').Part | null>} null if cancelled
 */
export async function choosePart(file) {
  const kind = await kindOf(file);
  if (kind.media === 'video') throw new UnreadableMediaError('no_decoder');
  const shown = await withoutProfile(file, kind.format);
  orientation = shown.orientation;
  picture = await createImageBitmap(shown.blob);
  const { width, height } = picture;
  const scale = Math.min(1, VIEW_PIXELS / Math.max(width, height));
  canvas.width = Math.max(1, Math.round((orientation.transposes ? height : width) * scale));
  canvas.height = Math.max(1, Math.round((orientation.transposes ? width : height) * scale));
  for (const slider of sliders) slider.valueAsNumber = 0;
  blur();
  draw();
  dialog.showModal();
  return new Promise((resolve) => {
    /** @param {import('../fingerprint/picture.js').Part | null} chosen */
    const finish = (chosen) => {
      dialog.close();
      picture?.close();
      picture = null;
      canvas.width = 0;
      resolve(chosen);
    };
    use.onclick = () => finish(part());
    cancel.onclick = () => finish(null);
    dialog.oncancel = () => finish(null);
  });
}
