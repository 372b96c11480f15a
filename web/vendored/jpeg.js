export { default as jpegModule } from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js';
export { default as jpegWasm } from '@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm';
