/** JPEG by mozjpeg in WebAssembly, where the browser falsifies canvas pixels. */

import { jpegModule, jpegWasm } from '../vendor/jpeg.js';
import { UnreadableMediaError } from './media.js';

/** @type {Promise<any> | undefined} */
let loading;

/** @type {import('./picture.js').Decoder} */
export async function decodeJpeg(file) {
  loading ??= jpegModule({ noInitialRun: true, wasmBinary: jpegWasm });
  const codec = await loading;
  const bytes = await file.arrayBuffer();
  let image;
  try {
    image = codec.decode(bytes, true);
  } catch {
    // Colours of printers (CMYK), which this decoder does not convert.
    throw new UnreadableMediaError('no_decoder');
  }
  if (!image) throw new UnreadableMediaError('damaged');
  return { rgba: image.data, width: image.width, height: image.height };
}
