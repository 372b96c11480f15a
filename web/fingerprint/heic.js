/** HEIC by libheif in WebAssembly: most browsers other than Safari cannot decode it. */

import libheif from '../vendor/libheif.mjs';
import { checkPixels } from './container.js';
import { UnreadableMediaError } from './media.js';

/** @type {import('./picture.js').Decoder} */
export async function decodeHeic(file) {
  const codec = libheif();
  const decoder = new codec.HeifDecoder();
  const images = decoder.decode(new Uint8Array(await file.arrayBuffer()));
  const image = images.find((/** @type {any} */ each) => each.is_primary?.()) ?? images[0];
  if (!image) throw new UnreadableMediaError('damaged');
  const width = image.get_width();
  const height = image.get_height();
  checkPixels(width * height);
  const rgba = new Uint8ClampedArray(width * height * 4);
  const shown = await new Promise((resolve) => {
    image.display({ data: rgba, width, height }, resolve);
  });
  for (const each of images) each.free();
  if (!shown) throw new UnreadableMediaError('damaged');
  overWhite(rgba);
  return { rgba, width, height };
}

/** @param {Uint8ClampedArray} rgba straight alpha, changed in place */
function overWhite(rgba) {
  for (let at = 0; at < rgba.length; at += 4) {
    const alpha = rgba[at + 3] / 255;
    if (alpha === 1) continue;
    for (let channel = at; channel < at + 3; channel++) {
      rgba[channel] = rgba[channel] * alpha + 255 * (1 - alpha);
    }
  }
}
