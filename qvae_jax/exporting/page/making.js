// Orders to sounds with the model's two parts, one that hears and one that renders, for each of some lengths.

import { normal } from "./drawing.js";
import { resampled } from "./resampling.js";
import { Steering } from "./steering.js";

const PLACE = 1; // of the only input, on which noise depends beside the seed
const MOST_KEPT = 200; // recordings of which it is remembered what was heard
// What curves are taken from, as the graph has it: a voice, and the gesture head's as they are.
const [VOICE, WHOLE_GESTURE] = [0, 3];
const SOUND = 1; // of is_sound: what is no voice, where the model tells them apart

/** Makes sounds, one order after the other. */
export class Maker {
  /**
   * page is what page.json holds; build(name) gives a part of the model, by its file, as a function of
   * inputs { name: { type, data, shape } }; noise is that of seed 0.
   */
  constructor(page, build, noise) {
    Object.assign(this, { page, build, noise, parts: new Map(), kept: new Map() });
  }

  /** Builds what short sounds need, and uses it once, which makes it fast. */
  async warmUp() {
    const [shortest] = this.page.lengths;
    const heard = await this.listened(shortest, new Float32Array(shortest.num_samples));
    await this.rendered(heard.mean, heard.curves, 0);
  }

  /** Builds the rest, and yields after each part. */
  async *prepare() {
    for (const { hear, render } of this.page.lengths) {
      yield await this.part(hear);
      yield await this.part(render);
    }
  }

  /**
   * The sounds { samples, rateHz, curves } of an order, which model.js tells of; the imitation and what
   * it is to be like have a number besides. Ends with fewer where isStopped() says so.
   */
  async make({ imitation, like, curves, parameters }, isStopped) {
    const { variations = 1, temperature = 0, seed = 0, sample_rate } = parameters;
    const rateHz = Number(sample_rate ?? this.facts.sample_rate_hz);
    const steering = this.facts.is_steered ? this.steering(parameters, curves) : null;
    const sounds = [];
    for (let variation = 1; variation <= variations && !(await isStopped()); variation++) {
      const lender = like ? await this.heard(like, SOUND) : await this.heard(imitation);
      const z = drawn(lender, temperature, [seed, PLACE, variation]);
      const voice = steering?.needsVoice ? (await this.heard(imitation)).curves : null;
      const steered = steering && (await steering.curves(voice, () => this.gesture(z)));
      const samples = resampled(await this.rendered(z, steered, seed), this.facts.sample_rate_hz, rateHz);
      sounds.push({ samples, rateHz, curves: steered });
    }
    return sounds;
  }

  steering(parameters, curves) {
    return new Steering(parameters, curves, { ...this.facts.curves, most_frames: this.longest.num_frames });
  }

  get facts() {
    return this.page.facts;
  }

  get longest() {
    return this.page.lengths.at(-1);
  }

  // --- The two parts

  /** What is heard of a recording: { mean, logVariance, curves }; remembered by its number. */
  async heard({ samples, rateHz, number }, isSound = 0) {
    const key = `${number} ${isSound}`;
    if (this.kept.has(key)) return this.kept.get(key);
    const counted = samples.subarray(0, Math.ceil(this.longest.duration_s * rateHz));
    const waveform = resampled(counted, rateHz, this.page.heard_rate_hz).subarray(0, this.longest.num_samples);
    const length = this.length((one) => one.num_samples >= waveform.length);
    const found = await this.listened(length, waveform, isSound);
    if (this.kept.size >= MOST_KEPT) this.kept.delete(this.kept.keys().next().value);
    this.kept.set(key, found);
    return found;
  }

  async listened(length, waveform, isSound = 0) {
    const counts = { num_samples: [waveform.length], is_sound: [isSound] };
    const given = { waveform, ...counts, curve_source: Array(4).fill(VOICE) };
    const { mean, log_variance: logVariance, curves, num_frames } = await this.run(length.hear, given);
    return { mean, logVariance, curves: curves && rows(curves, num_frames[0]) };
  }

  /** What the gesture head makes of z: { curves, durationS }. */
  async gesture(z) {
    const [length] = this.page.lengths;
    const asked = { num_samples: [0], z_given: z, use_z: [1], curve_source: Array(4).fill(WHOLE_GESTURE) };
    const found = await this.run(length.hear, { ...asked, num_frames_given: [this.page.gesture_frames] });
    return { curves: rows(found.curves, this.page.gesture_frames), durationS: found.duration_s[0] };
  }

  async rendered(z, curves, seed) {
    const numFrames = curves?.length ?? 0;
    const length = this.length((one) => !curves || one.num_frames >= numFrames);
    const count = length.num_noise_samples;
    const noise = seed === 0 ? this.noise.subarray(0, count) : normal([seed, PLACE], count);
    const steered = curves && { curves: filledUp(curves, length.num_frames), num_frames: [numFrames] };
    const { sound } = await this.run(length.render, { z, noise, ...steered });
    if (!sound.every(Number.isFinite)) throw new Error("it is not finite: the model's weights are damaged");
    return curves ? sound.slice(0, numFrames * this.page.hop_length) : sound;
  }

  /** The first length that will do, else the longest. */
  length(willDo) {
    return this.page.lengths.find(willDo) ?? this.longest;
  }

  async run(part, given) {
    const compute = await this.part(part);
    return compute(Object.fromEntries(part.inputs.map((input) => [input.name, filled(input, given[input.name])])));
  }

  async part(part) {
    if (!this.parts.has(part.file)) this.parts.set(part.file, await this.build(part.file));
    return this.parts.get(part.file);
  }
}

/** z of N(mean, variance·temperature²), a Float32Array. */
function drawn({ mean, logVariance }, temperature, key) {
  if (temperature === 0) return mean;
  const epsilon = normal(key, mean.length);
  return mean.map((value, i) => value + temperature * Math.exp(0.5 * logVariance[i]) * epsilon[i]);
}

/** An input { type, shape } with what is given at its beginning, and zeros after that. */
function filled({ type, shape }, given = []) {
  const Kind = { float32: Float32Array, int32: Int32Array }[type];
  const data = new Kind(shape.reduce((count, size) => count * size, 1));
  data.set(given);
  return { type, data, shape };
}

/** The first curves [frames][4] in such numbers. */
const rows = (numbers, count) =>
  Array.from({ length: count }, (_, frame) => [...numbers.subarray(4 * frame, 4 * frame + 4)]);

/** Curves that stay as they end up to numFrames, as numbers. */
const filledUp = (curves, numFrames) =>
  Float32Array.from({ length: 4 * numFrames }, (_, i) => curves[Math.min(curves.length - 1, i >> 2)][i % 4]);
