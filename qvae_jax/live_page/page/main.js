// The page: the microphone, files and keys on one side, takes on the other.

import { NoMicrophone, Recorder } from "./recorder.js";
import { model, Refused } from "./model.js";
import { Controls, initial } from "./settings.js";
import { Player } from "./player.js";
import { Takes } from "./takes.js";

const SILENT_PEAK = 1e-3; // -60 dB: what a microphone that is switched off still gives
const CLIPPED_PEAK = 0.999;
const FEWEST_CLIPPED = 3; // samples in a row of blocks, which no loud voice gives by chance
const SHORTEST_S = 0.05;
const UNHEARD_MS = 1_500;
const LOWEST_DB = -60;

const by = (id) => document.getElementById(id);
const [status, recordButton, meter] = [by("status"), by("record"), by("meter")];

function say(text, isFault = false) {
  status.textContent = text;
  status.classList.toggle("fault", isFault);
}

/** The state of the recorder: idle, opening (the microphone), recording, or stopping. */
class Session {
  constructor(facts) {
    this.facts = facts;
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.player = new Player(this.context, () => this.follow());
    this.takes = new Takes(by("takes"), facts, this.player, say, (take) => this.selected(take));
    this.controls = new Controls(by("settings"), facts, (settings) => this.takes.change(settings), (file) => this.soundLike(file));
    this.recorder = new Recorder(this.context, (block) => this.hear(block));
    this.state = "idle";
    this.settings = initial();
  }

  selected(take) {
    by("empty").hidden = this.takes.cards.size > 0;
    this.controls.offer(this.takes.choices(take));
    if (take) this.controls.show(take.settings, take.name);
  }

  // --- Recording

  /** held: whether it lasts as long as a key is held. */
  async start(held = false) {
    if (this.state !== "idle") return;
    this.player.stop();
    this.set("opening");
    by("clock").textContent = "0.0 s";
    [this.wanted, this.held] = [true, held];
    try {
      await this.recorder.start();
    } catch (error) {
      this.set("idle");
      if (!(error instanceof NoMicrophone)) throw error;
      return say(error.message, true);
    }
    Object.assign(this, { peak: 0, numClipped: 0, numHeard: 0 });
    this.set("recording");
    say("Recording …");
    this.unheard = setTimeout(() => this.peak < SILENT_PEAK && say("Nothing is heard yet: is the microphone on?", true), UNHEARD_MS);
    if (!this.wanted) this.stop();
  }

  async stop() {
    this.wanted = false;
    if (this.state !== "recording") return;
    performance.mark("recording-ended");
    this.set("stopping");
    clearTimeout(this.unheard);
    const samples = await this.recorder.stop();
    this.set("idle");
    this.level(0);
    this.keep(null, samples, this.context.sampleRate);
  }

  /** Makes a take of a recording, unless there is nothing in it, which is said. */
  keep(name, samples, rateHz) {
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    if (samples.length < SHORTEST_S * rateHz) return say("That was too short: hold on while you hum.", true);
    if (peak < SILENT_PEAK) {
      const mend = name ? "Choose another one." : "Check that it is switched on, and chosen in the system’s settings.";
      return say(`${name ?? "The microphone"} is silent. ${mend}`, true);
    }
    const isClipped = !name && this.numClipped >= FEWEST_CLIPPED;
    say(isClipped ? "The recording is clipped: move away from the microphone, or turn it down." : "Making the sound …", isClipped);
    const settings = this.controls.settings;
    const kept = samples.length > this.facts.longest_s * rateHz ? samples.slice(0, this.facts.longest_s * rateHz) : samples;
    this.takes.add(name, kept, rateHz, { ...settings });
  }

  hear(block) {
    const peak = block.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    this.peak = Math.max(this.peak, peak);
    this.numClipped += block.reduce((count, sample) => count + (Math.abs(sample) >= CLIPPED_PEAK), 0);
    this.numHeard += block.length;
    this.level(peak);
    const heardS = this.numHeard / this.context.sampleRate;
    by("clock").textContent = `${heardS.toFixed(1)} s`;
    if (heardS >= this.facts.longest_s) this.stop();
  }

  level(peak) {
    const db = Math.max(LOWEST_DB, 20 * Math.log10(peak || 1e-9));
    meter.firstElementChild.style.transform = `scaleX(${1 - db / LOWEST_DB})`;
    meter.classList.toggle("clipped", peak >= CLIPPED_PEAK);
    meter.setAttribute("aria-valuenow", Math.round(db));
    meter.setAttribute("aria-valuetext", db <= LOWEST_DB ? "silent" : `${Math.round(db)} decibels`);
  }

  set(state) {
    this.state = state;
    recordButton.classList.toggle("recording", state === "recording");
    by("record-word").textContent = { opening: "Opening …", recording: "Stop" }[state] ?? "Record";
  }

  // --- Files

  async add(file) {
    const sound = await this.decoded(file);
    if (sound) this.keep(file.name, sound.samples, sound.rateHz);
  }

  async soundLike(file) {
    const sound = await this.decoded(file);
    if (!sound) return;
    const value = this.takes.keep(file.name, sound);
    this.controls.offer(this.takes.choices(this.takes.current));
    this.controls.show({ ...this.controls.settings, like: value });
    this.takes.change(this.controls.settings);
  }

  /** A file's sound as the browser decodes it, at the context's rate; says where it cannot. */
  async decoded(file) {
    if (file.size > this.facts.most_bytes) return say(`${file.name} is too long.`, true);
    try {
      const buffer = await this.context.decodeAudioData(await file.arrayBuffer());
      const samples = new Float32Array(buffer.length);
      for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
        buffer.getChannelData(channel).forEach((sample, i) => (samples[i] += sample / buffer.numberOfChannels));
      }
      return { samples, rateHz: buffer.sampleRate };
    } catch {
      return say(`${file.name} is no sound that this browser reads. Try it as WAV, MP3 or M4A.`, true);
    }
  }

  redraw() {
    for (const card of this.takes.cards.values()) card.draw();
  }

  follow() {
    for (const card of this.takes.cards.values()) card.follow();
    if (this.player.playing) requestAnimationFrame(() => this.player.playing && this.follow());
  }
}

// --- Keys, and files that are dropped

/** Whether the space bar means something else where it is pressed. */
const hasOwnSpace = (target) =>
  target !== recordButton && target.closest("button, a, input, select, summary, [role=slider]") !== null;

function listen(session) {
  recordButton.addEventListener("click", () => (session.state === "idle" ? session.start() : session.stop()));
  document.addEventListener("keydown", (event) => {
    if (event.code !== "Space" || hasOwnSpace(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (!event.repeat) session.start(true);
  });
  document.addEventListener("keyup", (event) => {
    if (event.code !== "Space" || hasOwnSpace(event.target)) return;
    event.preventDefault();
    session.stop();
  });
  // Waveforms have the text's colour.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => session.redraw());
  // Elsewhere the key would be let go of unseen.
  window.addEventListener("blur", () => session.held && session.stop());
  const file = by("file");
  file.addEventListener("change", async () => {
    if (file.files.length) await session.add(file.files[0]);
    file.value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    by("drop").hidden = false;
  });
  document.addEventListener("dragleave", (event) => (by("drop").hidden = event.relatedTarget !== null));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    by("drop").hidden = true;
    for (const dropped of event.dataTransfer.files) await session.add(dropped);
  });
}

function describe(facts) {
  const how = facts.is_steered
    ? `follows a voice for up to ${facts.longest_s} s`
    : `hears the first ${facts.heard_s} s`;
  by("facts").textContent = `${facts.model}: ${how}, and answers at ${facts.sample_rate_hz.toLocaleString("en")} Hz.`;
}

recordButton.disabled = true;
try {
  const facts = await model(say);
  say("");
  describe(facts);
  listen(new Session(facts));
  recordButton.disabled = false;
  document.documentElement.dataset.ready = "true";
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  say(error.message, true);
}
