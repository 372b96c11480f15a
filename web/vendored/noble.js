export { getPublicKeyAsync, hashes, signAsync, verifyAsync } from '@noble/ed25519';
export { hkdf } from '@noble/hashes/hkdf.js';
export { sha256, sha512 } from '@noble/hashes/sha2.js';
