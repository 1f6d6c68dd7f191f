// Normal numbers that depend on whole numbers alone: the chance in variations and in noise.

/** count numbers of N(0, 1), a Float32Array; key are whole numbers from 0, up to 2^32 - 1. */
export function normal(key, count) {
  const next = uniform(key);
  const found = new Float32Array(count);
  for (let i = 0; i < count; i += 2) { // two at a time (Box & Muller, 1958)
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    found[i] = radius * Math.cos(angle);
    if (i + 1 < count) found[i + 1] = radius * Math.sin(angle);
  }
  return found;
}

/** Numbers in [0, 1), by Marsaglia's xorshift of 128 bits (2003) from a state that the key is mixed into. */
function uniform(key) {
  const state = Uint32Array.of(0x9e3779b9, 0x7f4a7c15, 0xf39cc060, 0x5cedc834);
  key.forEach((number, i) => {
    state[i % 4] ^= number;
    for (let round = 0; round < 64; round++) step(state);
  });
  return () => step(state) / 2 ** 32;
}

function step(state) {
  let mixed = state[0] ^ (state[0] << 11);
  mixed ^= mixed >>> 8;
  state.copyWithin(0, 1);
  state[3] ^= (state[3] >>> 19) ^ mixed;
  return state[3];
}
