/**
 * Cutting a part out of a screenshot, by sliders alone: they work with fingers, keys and screen
 * readers. The picture is heavily blurred, and seen only while a button is held.
 */

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
  context.drawImage(picture, 0, 0, width, height);
  context.fillStyle = 'rgb(20 30 40 / 85%)';
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  context.fill('evenodd');
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
  picture = await createImageBitmap(file);
  const scale = Math.min(1, VIEW_PIXELS / Math.max(picture.width, picture.height));
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
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
