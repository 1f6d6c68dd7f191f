// The curves that a sound is rendered with: the voice's, a user's or the gesture head's own, as asked for.
// Curves are [frames][4]: loudness, centroid, pitch, periodicity. The package's generation/gestures.py and
// audio/curves.py do the same.

const STEERABLE = ["loudness", "centroid", "pitch"]; // periodicity goes with pitch
const [CENTROID, PITCH, PERIODICITY] = [1, 2, 3];

/** How an order's sounds are steered. */
export class Steering {
  /** given: curves that are taken instead of the voice's, or null; facts: what the page knows of curves. */
  constructor({ steer, duration, steer_smoothing_ms = 0, transpose = 0 }, given, facts) {
    const names = steer === undefined ? STEERABLE : STEERABLE.filter((name) => steer.split(",").includes(name));
    const smoothedFrames = steer_smoothing_ms / 1_000 / facts.frame_s;
    Object.assign(this, { given, duration, transpose, facts, names: given ? [] : names });
    this.smoothingFrames = 1 + 2 * Math.max(0, Math.round((smoothedFrames - 1) / 2));
  }

  get needsVoice() {
    return this.names.length > 0;
  }

  /** The curves; voice may be null where it is not needed. head() gives { curves, durationS } of the gesture. */
  async curves(voice, head) {
    const told = this.given ?? (this.needsVoice ? voice : null);
    const gesture = this.needsHead ? await head() : null;
    if (told === null && this.duration === undefined) return this.finished(gesture.curves);
    const natural = gesture && gesture.curves.slice(0, this.framesOf(gesture.durationS));
    const numFrames = this.numFrames(told, natural);
    if (told === null) return this.finished(stretched(natural, numFrames));
    const found = stretched(smoothed(told, this.smoothingFrames), numFrames);
    if (this.given || this.names.length === STEERABLE.length) return this.finished(found);
    const own = stretched(natural, numFrames);
    const isOfVoice = [...STEERABLE, "pitch"].map((name) => this.names.includes(name));
    return this.finished(found.map((values, frame) => values.map((value, i) => (isOfVoice[i] ? value : own[frame][i]))));
  }

  get needsHead() {
    return (!this.given && this.names.length < STEERABLE.length) || this.duration === "natural";
  }

  numFrames(told, natural) {
    if (this.duration === undefined) return told.length;
    return this.duration === "natural" ? natural.length : this.framesOf(this.duration);
  }

  /** How many frames last about so long, from one to as many as the model renders. */
  framesOf(durationS) {
    return Math.min(this.facts.most_frames, Math.max(1, Math.round(durationS / this.facts.frame_s)));
  }

  finished(curves) {
    const { lowest, highest } = this.facts;
    const within = (value, i) => Math.min(highest[i], Math.max(lowest[i], value));
    return transposed(curves, this.transpose).map((values) => values.map(within));
  }
}

/** Curves through a median filter of numFrames, an odd number, held at both ends; not periodicity. */
export function smoothed(curves, numFrames) {
  if (numFrames === 1) return curves;
  const reach = (numFrames - 1) / 2;
  const held = (frame) => curves[Math.min(curves.length - 1, Math.max(0, frame))];
  const median = (frame, i) => {
    const around = Float32Array.from({ length: numFrames }, (_, at) => held(frame - reach + at)[i]);
    return around.sort()[reach];
  };
  return curves.map((values, frame) => values.map((value, i) => (i === PERIODICITY ? value : median(frame, i))));
}

/** Curves in numFrames, on lines between the middles of the frames; held at both ends. */
export function stretched(curves, numFrames) {
  if (numFrames === curves.length) return curves;
  const last = curves.length - 1;
  return Array.from({ length: numFrames }, (_, frame) => {
    const place = Math.min(last, Math.max(0, ((frame + 0.5) * curves.length) / numFrames - 0.5));
    const before = Math.min(last, Math.floor(place));
    const after = Math.min(last, before + 1);
    return curves[before].map((value, i) => value + (place - before) * (curves[after][i] - value));
  });
}

/** Curves whose centroid and pitch lie so many semitones higher. */
export const transposed = (curves, semitones) =>
  curves.map((values) => values.map((value, i) => (i === CENTROID || i === PITCH ? value + semitones : value)));
