// The curves of a sound: drawn over its spectrogram, and changed there with the mouse or with keys.

import { fitted, frequencyAt, heightOf } from "./spectrogram.js";

export const [LOUDNESS, CENTROID, PITCH, PERIODICITY] = [0, 1, 2, 3];
const REACH = 6; // frames to either side that a key moves along, less and less
const KEYS_DONE_MS = 700;
const DRAWN_PERIODICITY = 0.9; // of frames without a pitch for which one is drawn
const DARK = "#00000099";
export const CURVES = [
  { name: "loudness", title: "loudness", unit: "dB", step: 1, colour: "#ffd166", dash: [] },
  { name: "centroid", title: "brightness", unit: "semitones", step: 1, colour: "#5ad1c8", dash: [7, 4] },
  { name: "pitch", title: "pitch", unit: "semitones", step: 1, colour: "#ffffff", dash: [] },
  { name: "periodicity", title: "voicing", unit: "", step: 0.05, colour: "#ff9ecf", dash: [2, 3] },
];

const hertz = (note) => 440 * 2 ** ((note - 69) / 12);
const semitones = (hz) => 69 + 12 * Math.log2(hz / 440);

/** Curves [frames][4] as the table that --mode=generate writes and reads. */
export function table(curves, { header, frame_s }) {
  const lines = curves.map((values, frame) => [((frame + 0.5) * frame_s).toFixed(6), ...values].join(","));
  return [header.join(","), ...lines, ""].join("\n");
}

/** Draws curves on a canvas, and calls onEdit with new ones when the user lets go of one. */
export class CurveEditor {
  constructor(canvas, facts, onEdit) {
    Object.assign(this, { canvas, facts, onEdit, active: PITCH, cursor: 0, curves: null, wholeS: 1 });
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "slider");
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", () => this.end());
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.finishKeys());
    canvas.addEventListener("focus", () => this.draw());
  }

  /** Shows curves [frames][4] of a sound; wholeS is how long the picture is. */
  show(curves, wholeS) {
    this.curves = curves.map((values) => [...values]);
    this.shown = curves;
    this.wholeS = wholeS;
    this.cursor = Math.min(this.cursor, curves.length - 1);
    this.draw();
  }

  choose(active) {
    this.active = active;
    this.draw();
  }

  draw() {
    if (!this.curves) return;
    const context = fitted(this.canvas);
    const scale = window.devicePixelRatio || 1;
    const others = CURVES.map((_, i) => i).filter((i) => i !== this.active);
    for (const index of [...others, this.active]) {
      const { colour, dash } = CURVES[index];
      const width = (index === this.active ? 2.5 : 1.25) * scale;
      this.line(context, index, DARK, width + 2 * scale, []);
      this.line(context, index, colour, width, dash.map((length) => length * scale));
    }
    if (document.activeElement === this.canvas) this.mark(context, scale);
    this.describe();
  }

  /** One curve; that of pitch only where the sound is voiced. */
  line(context, index, colour, width, dash) {
    context.beginPath();
    let drawing = false;
    this.curves.forEach((values, frame) => {
      const seen = index !== PITCH || values[PERIODICITY] > this.facts.voiced_above;
      const [x, y] = [this.x(frame), (1 - this.height(index, values[index])) * this.canvas.height];
      if (seen && drawing) context.lineTo(x, y);
      else if (seen) context.moveTo(x, y);
      drawing = seen;
    });
    Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  mark(context, scale) {
    const y = (1 - this.height(this.active, this.curves[this.cursor][this.active])) * this.canvas.height;
    context.beginPath();
    context.arc(this.x(this.cursor), y, 5 * scale, 0, 2 * Math.PI);
    Object.assign(context, { fillStyle: CURVES[this.active].colour, strokeStyle: "#000000", lineWidth: scale });
    context.fill();
    context.stroke();
  }

  describe() {
    const { title, unit } = CURVES[this.active];
    const value = this.curves[this.cursor][this.active];
    const at = ((this.cursor + 0.5) * this.facts.frame_s).toFixed(2);
    const described = {
      "aria-label": `${title}: left and right choose a moment, up and down change it`,
      "aria-valuemin": this.facts.lowest[this.active],
      "aria-valuemax": this.facts.highest[this.active],
      "aria-valuenow": value,
      "aria-valuetext": `${value.toFixed(unit ? 1 : 2)} ${unit} at ${at} s`,
    };
    for (const [name, text] of Object.entries(described)) this.canvas.setAttribute(name, text);
  }

  // --- With the mouse

  begin(event) {
    if (event.button !== 0 || !this.curves) return;
    this.finishKeys();
    this.canvas.setPointerCapture(event.pointerId);
    this.last = null;
    this.dragging = true;
    this.drag(event);
  }

  drag(event) {
    if (!this.dragging) return;
    const bounds = this.canvas.getBoundingClientRect();
    const frame = this.frame((event.clientX - bounds.left) / bounds.width);
    const value = this.value(this.active, 1 - (event.clientY - bounds.top) / bounds.height);
    const last = this.last ?? { frame, value };
    const steps = Math.max(1, Math.abs(frame - last.frame));
    for (let i = 0; i <= steps; i++) {
      const at = Math.round(last.frame + (i / steps) * (frame - last.frame));
      this.set(at, last.value + (i / steps) * (value - last.value));
    }
    this.last = { frame, value };
    this.cursor = frame;
    this.draw();
  }

  end() {
    if (!this.dragging) return;
    this.dragging = false;
    this.onEdit(this.curves);
  }

  cancel() {
    this.dragging = false;
    if (this.shown) this.show(this.shown, this.wholeS);
  }

  // --- With keys

  key(event) {
    if (!this.curves) return;
    const along = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity }[event.key];
    const up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (event.key === "Enter") this.finishKeys();
    else if (along) this.cursor = Math.min(this.curves.length - 1, Math.max(0, this.cursor + along * (event.shiftKey ? 10 : 1)));
    else if (up) this.bend(up * CURVES[this.active].step * (event.shiftKey ? 5 : 1));
    else return;
    event.preventDefault();
    this.draw();
  }

  bend(by) {
    for (let offset = -REACH; offset <= REACH; offset++) {
      const values = this.curves[this.cursor + offset];
      const share = 0.5 + 0.5 * Math.cos((Math.PI * offset) / (REACH + 1));
      if (values) this.set(this.cursor + offset, values[this.active] + by * share);
    }
    clearTimeout(this.pending);
    this.pending = setTimeout(() => this.finishKeys(), KEYS_DONE_MS);
  }

  finishKeys() {
    if (!this.pending) return this.draw();
    clearTimeout(this.pending);
    this.pending = null;
    this.onEdit(this.curves);
  }

  // --- Between curves and the picture

  set(frame, value) {
    const { lowest, highest, voiced_above } = this.facts;
    const values = this.curves[frame];
    values[this.active] = Math.min(highest[this.active], Math.max(lowest[this.active], value));
    if (this.active === PITCH && values[PERIODICITY] <= voiced_above) values[PERIODICITY] = DRAWN_PERIODICITY;
  }

  x(frame) {
    return (((frame + 0.5) * this.facts.frame_s) / this.wholeS) * this.canvas.width;
  }

  frame(share) {
    const found = Math.floor((share * this.wholeS) / this.facts.frame_s);
    return Math.min(this.curves.length - 1, Math.max(0, found));
  }

  /** From 0 at the bottom: pitch and brightness where the picture has their frequency. */
  height(index, value) {
    if (index === PITCH || index === CENTROID) return Math.max(0, heightOf(hertz(value)));
    const [low, high] = [this.facts.lowest[index], this.facts.highest[index]];
    return (value - low) / (high - low);
  }

  value(index, height) {
    if (index === PITCH || index === CENTROID) return semitones(frequencyAt(Math.min(1, Math.max(0, height))));
    const [low, high] = [this.facts.lowest[index], this.facts.highest[index]];
    return low + height * (high - low);
  }
}
