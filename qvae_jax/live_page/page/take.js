// One take's card: its imitation and its sound side by side, to hear, see, compare and change.

import { CURVES, CurveEditor, PITCH, table } from "./curves.js";
import { drawPicture, drawWave, melPicture } from "./spectrogram.js";
import * as wav from "./wav.js";

/** A take's data: what was recorded, how it is to sound, and its sounds. */
export const newTake = (number, name, samples, rateHz, settings) => ({
  number, name, settings, imitation: { samples, rateHz }, drawn: null, sounds: [], chosen: 0,
});

/** The sound of a take that is shown. */
export const shownSound = (take) => take.sounds[take.chosen];

/** A take's element. on: { select, remove, edit, restore, retry } are called with the take. */
export class TakeCard {
  constructor(take, facts, player, on) {
    Object.assign(this, { take, facts, player, on, urls: [] });
    this.element = element("li", "card take");
    this.element.setAttribute("aria-labelledby", `take-${take.number}`);
    this.build();
    this.element.addEventListener("pointerdown", () => on.select(take));
    this.element.addEventListener("focusin", () => on.select(take));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.element);
  }

  build() {
    const { take, player, on } = this;
    const title = element("h3", "", `${take.name}, ${seconds(take.imitation)}`);
    title.id = `take-${take.number}`;
    this.both = button("A/B", `Switch between imitation and sound of ${take.name}`, () =>
      player.alternate(take.imitation, shownSound(take)));
    this.removing = button("Delete", `Delete ${take.name}`, () => on.remove(take));
    const head = element("div", "head");
    head.append(title, this.both, this.removing);
    this.imitation = this.side("Imitation", () => take.imitation);
    this.sound = this.side("Sound", () => shownSound(take));
    this.variations = choice("Variation");
    this.sound.figure.append(this.variations);
    if (this.facts.is_steered) this.buildEditor();
    this.told = element("p", "told");
    this.told.hidden = true;
    const pair = element("div", "pair");
    pair.append(this.imitation.figure, this.sound.figure);
    this.element.append(head, pair, this.told);
  }

  side(title, soundOf) {
    const figure = element("figure", title.toLowerCase());
    const caption = element("figcaption");
    const play = button("Play", `Play the ${title.toLowerCase()} of ${this.take.name}`, () => this.player.toggle(soundOf()));
    const link = element("a", "", "WAV");
    link.setAttribute("aria-label", `Download the ${title.toLowerCase()} of ${this.take.name} as WAV`);
    caption.append(element("strong", "", title), link, play);
    const wave = element("canvas", "wave");
    const mel = element("canvas");
    for (const canvas of [wave, mel]) canvas.setAttribute("role", "img");
    wave.setAttribute("aria-label", `waveform of the ${title.toLowerCase()}`);
    mel.setAttribute("aria-label", `mel spectrogram of the ${title.toLowerCase()}`);
    const line = element("span", "head-line");
    line.hidden = true;
    const picture = element("div", "picture");
    picture.append(mel, line);
    figure.append(caption, wave, picture);
    return { figure, play, link, wave, mel, line, picture, caption };
  }

  buildEditor() {
    const canvas = element("canvas", "editor");
    this.sound.picture.append(canvas);
    this.editor = new CurveEditor(canvas, this.facts.curves, (curves) => this.on.edit(this.take, curves));
    this.choosing = choice("Draw");
    CURVES.forEach(({ name, title }, index) => {
      const label = element("label");
      const radio = element("input");
      Object.assign(radio, { type: "radio", name: `curve-${this.take.number}`, value: name, checked: index === PITCH });
      radio.addEventListener("change", () => this.editor.choose(index));
      label.append(radio, element("span", `swatch ${name}`), title);
      this.choosing.append(label);
    });
    this.table = element("a", "", "CSV");
    this.table.setAttribute("aria-label", `Download the curves of ${this.take.name} as a table`);
    this.sound.link.before(this.table);
    this.restore = button("Undo drawing", `Give ${this.take.name} the voice’s curves again`, () => this.on.restore(this.take));
    this.choosing.append(this.restore);
    this.sound.figure.append(this.choosing);
  }

  // --- What the take has become

  /** Shows what the take has: its sounds, where they are there, and whether one is being made. */
  show({ busy = false, told = "", fault = false, retry = false } = {}) {
    const { take } = this;
    const sound = shownSound(take);
    this.element.classList.toggle("busy", busy);
    this.sound.figure.setAttribute("aria-busy", busy);
    for (const one of [this.both, this.sound.play]) one.disabled = !sound;
    this.sound.link.hidden = !sound;
    this.told.replaceChildren(told, ...(retry ? [" ", button("Try again", "", () => this.on.retry(take))] : []));
    this.told.classList.toggle("fault", fault);
    this.told.hidden = !told;
    this.showVariations();
    this.link();
    if (this.editor) {
      this.choosing.hidden = this.table.hidden = !sound?.curves;
      this.restore.hidden = !take.drawn;
      if (sound?.curves) this.editor.show(sound.curves, this.wholeS);
    }
    this.draw();
  }

  showVariations() {
    const { take } = this;
    this.variations.hidden = take.sounds.length < 2;
    const buttons = take.sounds.map((_, index) => {
      const one = button(String(index + 1), `Variation ${index + 1} of ${take.name}`, () => {
        take.chosen = index;
        this.show();
        this.player.play(shownSound(take));
        this.variations.querySelectorAll("button")[index].focus();
      });
      one.setAttribute("aria-pressed", index === take.chosen);
      return one;
    });
    this.variations.replaceChildren(this.variations.firstChild, ...buttons);
  }

  /** Has the links hold what there is, under names that every file system takes. */
  link() {
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.urls = [];
    const { take } = this;
    const plain = take.name.replace(/[^\p{L}\p{N}._-]+/gu, "_").replace(/^[_.]+/, "").slice(0, 60);
    const stem = `${String(take.number).padStart(2, "0")}_${plain}`;
    const point = (link, content, kind, name) => {
      const url = URL.createObjectURL(new Blob([content], { type: kind }));
      this.urls.push(url);
      Object.assign(link, { href: url, download: `${stem}_${name}` });
    };
    const { samples, rateHz } = take.imitation;
    point(this.imitation.link, wav.encoded(samples, rateHz), "audio/wav", "imitation.wav");
    const sound = shownSound(take);
    if (sound) point(this.sound.link, sound.file, "audio/wav", "sound.wav");
    if (sound?.curves) point(this.table, table(sound.curves, this.facts.curves), "text/csv", "curves.csv");
  }

  get wholeS() {
    const sound = shownSound(this.take);
    return Math.max(durationS(this.take.imitation), sound ? durationS(sound) : 0);
  }

  draw() {
    if (!this.element.isConnected) return;
    this.drawSide(this.imitation, this.take.imitation);
    const sound = shownSound(this.take);
    if (sound) this.drawSide(this.sound, sound);
    this.editor?.draw();
  }

  drawSide(side, sound) {
    sound.picture ??= melPicture(sound.samples, sound.rateHz);
    drawWave(side.wave, sound.samples, durationS(sound), this.wholeS);
    drawPicture(side.mel, sound.picture, durationS(sound), this.wholeS);
  }

  /** Shows where what plays has come to. */
  follow() {
    for (const [side, sound] of [[this.imitation, this.take.imitation], [this.sound, shownSound(this.take)]]) {
      const playing = sound !== undefined && this.player.isPlaying(sound);
      side.play.textContent = playing ? "Stop" : "Play";
      side.line.hidden = !playing;
      if (playing) side.line.style.left = `${(100 * Math.min(this.player.atS, durationS(sound))) / this.wholeS}%`;
    }
  }

  remove() {
    this.resized.disconnect();
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.element.remove();
  }
}

export const durationS = (sound) => sound.samples.length / sound.rateHz;
export const seconds = (sound) => `${durationS(sound).toFixed(1)} s`;

function element(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.textContent = text;
  return made;
}

function button(text, label, onClick) {
  const made = element("button", "", text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", onClick);
  return made;
}

function choice(title) {
  const made = element("fieldset", "choice");
  made.append(element("legend", "", title));
  return made;
}
