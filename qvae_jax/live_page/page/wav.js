// WAV files of one channel in 32-bit floats: what is sent, and what comes back.

const FLOAT = 3;
const HEADER_BYTES = 44;

/** A file, as bytes, of samples (Float32Array, full scale is 1). */
export function encoded(samples, rateHz) {
  const bytes = new ArrayBuffer(HEADER_BYTES + 4 * samples.length);
  const view = new DataView(bytes);
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, bytes.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, FLOAT, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rateHz, true);
  view.setUint32(28, 4 * rateHz, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 32, true);
  text(36, "data");
  view.setUint32(40, 4 * samples.length, true);
  for (let i = 0; i < samples.length; i++) view.setFloat32(HEADER_BYTES + 4 * i, samples[i], true);
  return bytes;
}

/** The samples in such a file, a Uint8Array; not by the browser's decoder, which would resample. */
export function decoded(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 12; at + 8 <= file.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (view.getUint32(at, false) === 0x64617461) { // "data"
      const samples = new Float32Array(size / 4);
      for (let i = 0; i < samples.length; i++) samples[i] = view.getFloat32(at + 8 + 4 * i, true);
      return samples;
    }
    at += 8 + size + (size % 2);
  }
  throw new Error("the sound that came is no WAV file");
}
