// Waveforms and mel spectrograms, drawn on a scale of time that sounds beside each other share.

const BANDS = 96;
const LOWEST_HZ = 40;
const HIGHEST_HZ = 11_025;
const WINDOW_S = 0.046;
const RANGE_DB = 70;
const MOST_COLUMNS = 480;
const COLUMNS_PER_S = 120;
// From silence to the loudest point of a sound.
const COLOURS = [
  [0, 10, 12, 28], [0.2, 46, 24, 92], [0.4, 124, 40, 124], [0.6, 205, 66, 96], [0.8, 248, 138, 68], [1, 252, 240, 180],
];

const mel = (hz) => 1127 * Math.log1p(hz / 700);
const LOWEST_MEL = mel(LOWEST_HZ);
const HIGHEST_MEL = mel(HIGHEST_HZ);

/** Where a frequency lies in a picture, from 0 at the bottom to 1 at the top. */
export const heightOf = (hz) => (mel(hz) - LOWEST_MEL) / (HIGHEST_MEL - LOWEST_MEL);

/** The frequency at a height, as heightOf has it. */
export const frequencyAt = (height) =>
  700 * Math.expm1((LOWEST_MEL + height * (HIGHEST_MEL - LOWEST_MEL)) / 1127);

/** A sound's picture, an ImageData of a column for each step of time, loudest at 0 dB. */
export function melPicture(samples, rateHz) {
  const durationS = samples.length / rateHz;
  const columns = Math.max(1, Math.min(MOST_COLUMNS, Math.round(durationS * COLUMNS_PER_S)));
  const size = 2 ** Math.round(Math.log2(WINDOW_S * rateHz));
  const bands = melBands(size, rateHz);
  const spectrum = new Spectrum(size);
  const energies = new Float32Array(columns * BANDS);
  for (let column = 0; column < columns; column++) {
    const middle = Math.round(((column + 0.5) / columns) * samples.length);
    const power = spectrum.power(samples, middle - size / 2);
    bands.forEach(({ first, weights }, band) => {
      let sum = 1e-12;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * power[first + i];
      energies[column * BANDS + band] = sum;
    });
  }
  return coloured(energies, columns);
}

/** Draws such a picture over as much of the canvas as the sound lasts of wholeS. */
export function drawPicture(canvas, picture, durationS, wholeS) {
  const context = fitted(canvas);
  const drawn = new OffscreenCanvas(picture.width, picture.height);
  drawn.getContext("2d").putImageData(picture, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(drawn, 0, 0, (canvas.width * durationS) / wholeS, canvas.height);
}

/** Draws a sound between its least and its largest sample in each column of pixels. */
export function drawWave(canvas, samples, durationS, wholeS) {
  const context = fitted(canvas);
  const columns = Math.max(1, Math.round((canvas.width * durationS) / wholeS));
  const middle = canvas.height / 2;
  context.fillStyle = getComputedStyle(canvas).color;
  for (let column = 0; column < columns; column++) {
    const from = Math.floor((column / columns) * samples.length);
    const to = Math.max(from + 1, Math.floor(((column + 1) / columns) * samples.length));
    let [lowest, highest] = [1, -1];
    for (let i = from; i < to && i < samples.length; i++) {
      lowest = Math.min(lowest, samples[i]);
      highest = Math.max(highest, samples[i]);
    }
    const top = middle - Math.min(1, highest) * middle;
    const bottom = middle - Math.max(-1, lowest) * middle;
    context.fillRect(column, top, 1, Math.max(1, bottom - top));
  }
}

/** A canvas's context, with as many pixels as the screen has there, empty. */
export function fitted(canvas) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  return canvas.getContext("2d");
}

function coloured(energies, columns) {
  const picture = new ImageData(columns, BANDS);
  const loudest = energies.reduce((most, energy) => Math.max(most, energy), 1e-9);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < BANDS; band++) {
      const db = 10 * Math.log10(energies[column * BANDS + band] / loudest);
      const at = 4 * ((BANDS - 1 - band) * columns + column);
      picture.data.set(colour(1 + db / RANGE_DB), at);
    }
  }
  return picture;
}

function colour(share) {
  const value = Math.min(1, Math.max(0, share));
  const next = Math.max(1, COLOURS.findIndex(([at]) => at >= value));
  const [[low, ...from], [high, ...to]] = [COLOURS[next - 1], COLOURS[next]];
  const part = (value - low) / (high - low);
  return [...from.map((channel, i) => channel + part * (to[i] - channel)), 255];
}

/** Triangles of unit sum; a band narrower than the spectrum's lines takes the nearest two. */
function melBands(size, rateHz) {
  const lineHz = rateHz / size;
  const edges = Array.from({ length: BANDS + 2 }, (_, i) => frequencyAt(i / (BANDS + 1)) / lineHz);
  return Array.from({ length: BANDS }, (_, band) => {
    const [low, centre, high] = edges.slice(band, band + 3);
    const [from, to] = [Math.min(low, centre - 1), Math.max(high, centre + 1)];
    const first = Math.max(0, Math.ceil(from));
    const last = Math.min(size / 2, Math.floor(to));
    const weights = [];
    for (let line = first; line <= last; line++) {
      const slope = line < centre ? (line - from) / (centre - from) : (to - line) / (to - centre);
      weights.push(Math.max(0, slope));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0) || 1;
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** The power spectrum of Hann-windowed pieces of a sound, by Cooley and Tukey's transform. */
class Spectrum {
  constructor(size) {
    this.size = size;
    this.window = Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
    this.cosines = Float32Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sines = Float32Array.from({ length: size / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    const bits = Math.log2(size);
    this.reversed = Uint32Array.from({ length: size }, (_, i) => {
      let found = 0;
      for (let bit = 0; bit < bits; bit++) found |= ((i >> bit) & 1) << (bits - 1 - bit);
      return found;
    });
    this.real = new Float32Array(size);
    this.imaginary = new Float32Array(size);
  }

  /** Of the samples from `first` on; beyond its ends a sound is silent. */
  power(samples, first) {
    const { size, real, imaginary } = this;
    for (let i = 0; i < size; i++) {
      real[this.reversed[i]] = (samples[first + i] ?? 0) * this.window[i];
    }
    imaginary.fill(0);
    for (let half = 1; half < size; half *= 2) this.combine(half, size / (2 * half));
    const power = new Float32Array(size / 2 + 1);
    for (let i = 0; i <= size / 2; i++) power[i] = real[i] ** 2 + imaginary[i] ** 2;
    return power;
  }

  combine(half, stride) {
    const { size, real, imaginary, cosines, sines } = this;
    for (let start = 0; start < size; start += 2 * half) {
      for (let i = 0; i < half; i++) {
        const [a, b] = [start + i, start + i + half];
        const [cosine, sine] = [cosines[i * stride], sines[i * stride]];
        const re = real[b] * cosine - imaginary[b] * sine;
        const im = real[b] * sine + imaginary[b] * cosine;
        real[b] = real[a] - re;
        imaginary[b] = imaginary[a] - im;
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}
