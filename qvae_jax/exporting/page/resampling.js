// Sounds at other rates, by a polyphase filter: a windowed sinc for each place between two samples.

const STOPBAND_DB = 100;
const PASSBAND = 0.91; // of the lower rate's half, as far as soxr's HQ quality lets pass what there is
const BETA = 0.1102 * (STOPBAND_DB - 8.7); // Kaiser's window for such a stopband (Kaiser, 1974)
// Of the lower rate's samples, to either side, by Kaiser's formula for this width of transition.
const REACH = (STOPBAND_DB - 7.95) / (2 * 2.285 * Math.PI * (1 - PASSBAND));

/** Samples at one rate as they are at another; whole numbers of Hz. */
export function resampled(samples, fromHz, toHz) {
  if (fromHz === toHz) return samples;
  const divisor = greatestDivisor(fromHz, toHz);
  const [up, down] = [toHz / divisor, fromHz / divisor];
  const { taps, filters } = filterBank(up, down);
  const found = new Float32Array(Math.ceil((samples.length * up) / down));
  for (let n = 0; n < found.length; n++) {
    const place = n * down; // in steps of 1/up of an input's sample
    const first = Math.floor(place / up) - taps / 2 + 1;
    const filter = (place % up) * taps;
    const [from, to] = [Math.max(0, -first), Math.min(taps, samples.length - first)];
    let sum = 0;
    for (let i = from; i < to; i++) sum += filters[filter + i] * samples[first + i];
    found[n] = sum;
  }
  return found;
}

/** filters: for each of `up` places between two input samples, the weights of the `taps` around it. */
function filterBank(up, down) {
  const scale = Math.min(1, up / down); // of the lower rate to the input's
  const cutoff = scale * (1 + PASSBAND) / 2;
  const reach = REACH / scale;
  const taps = 2 * Math.ceil(reach);
  const filters = new Float32Array(up * taps);
  for (let phase = 0; phase < up; phase++) {
    for (let i = 0; i < taps; i++) {
      const distance = i - taps / 2 + 1 - phase / up;
      filters[phase * taps + i] = cutoff * sinc(cutoff * distance) * kaiser(distance / reach);
    }
  }
  return { taps, filters };
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

const kaiser = (x) => (Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA));

/** The modified Bessel function of the first kind and order 0, by its power series. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestDivisor(a, b) {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
