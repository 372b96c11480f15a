/**
 * The same worker with decoders in WebAssembly, for what this browser cannot decode or hides.
 * Loaded only when needed; its policy allows WebAssembly, and still no connection.
 */

import { serve } from './serve.js';
import { decodeHeic } from './heic.js';
import { decodeJpeg } from './jpeg.js';

serve({ heic: decodeHeic, jpeg: decodeJpeg });
