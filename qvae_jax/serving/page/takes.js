// The list of takes, and what is asked of the server for each.

import { table } from "./curves.js";
import { nearest, Refused, sounds } from "./server.js";
import { neutral, parameters } from "./settings.js";
import { durationS, newTake, shownSound, TakeCard } from "./take.js";
import * as wav from "./wav.js";

/** All takes. say(text, isFault) speaks to the user; onSelect is called with the take that is chosen. */
export class Takes {
  constructor(list, facts, player, say, onSelect) {
    Object.assign(this, { list, facts, player, say, onSelect, cards: new Map(), files: new Map(), count: 0 });
    this.current = null;
  }

  /** Adds a recording, and asks for its sound, which plays when it comes. */
  add(name, samples, rateHz, settings) {
    const number = ++this.count;
    const take = newTake(number, name ?? `Take ${number}`, samples, rateHz, settings);
    const on = {
      select: (chosen) => this.select(chosen),
      remove: (chosen) => this.remove(chosen),
      edit: (chosen, curves) => this.draw(chosen, curves),
      restore: (chosen) => this.draw(chosen, null),
      retry: (chosen) => this.make(chosen),
    };
    const card = new TakeCard(take, this.facts, this.player, on);
    this.cards.set(take, card);
    this.list.prepend(card.element);
    this.select(take);
    return this.make(take);
  }

  select(take) {
    if (this.current === take) return;
    this.current = take;
    for (const [one, card] of this.cards) {
      card.element.classList.toggle("current", one === take);
      if (one === take) card.element.setAttribute("aria-current", "true");
      else card.element.removeAttribute("aria-current");
    }
    this.onSelect(take);
  }

  /** Gives the chosen take other settings, and makes its sound anew. */
  change(settings) {
    if (!this.current) return;
    this.current.settings = settings;
    this.make(this.current);
  }

  /** Takes curves that the user drew, or null for the voice's, and makes the sound anew. */
  draw(take, curves) {
    take.drawn = curves;
    // What the settings did to the curves is in them now.
    if (curves) take.settings = neutral(take.settings);
    this.onSelect(take);
    this.make(take);
  }

  remove(take) {
    const card = this.cards.get(take);
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    const isPlayed = [take.imitation, ...take.sounds].some((sound) => this.player.isPlaying(sound));
    if (isPlayed) this.player.stop();
    take.asking?.abort();
    card.remove();
    this.cards.delete(take);
    const [following] = [...this.cards].find(([, other]) => other.element === next) ?? [null];
    this.say(`${take.name} is deleted.`);
    this.current = null;
    if (following) this.select(following);
    else this.onSelect(null);
    const focused = following ? this.cards.get(following).removing : document.querySelector("#record");
    focused.focus();
  }

  async make(take) {
    const card = this.cards.get(take);
    take.asking?.abort();
    const asking = (take.asking = new AbortController());
    card.show({ busy: true, told: "Making the sound …" });
    try {
      const drawn = take.drawn !== null;
      const asked = parameters(take.settings, this.facts.is_steered, drawn);
      const [kind, rank] = take.settings.like.split(" ");
      if (kind === "nearest") asked.nearest = rank;
      const found = await sounds(this.form(take), asked, asking.signal);
      this.accept(take, found);
      if (this.facts.has_library && !take.nearest) await this.search(take);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      card.show({ told: error.message, fault: true, retry: true });
      this.say(error.message, true);
    }
  }

  accept(take, found) {
    take.sounds = found.sounds.map(({ file, curves }) => {
      const bytes = Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
      return { file: bytes, samples: wav.decoded(bytes), rateHz: found.sample_rate_hz, curves };
    });
    take.chosen = Math.min(take.chosen, take.sounds.length - 1);
    this.player.play(shownSound(take));
    performance.mark("sound-playing", { detail: take.number });
    this.cards.get(take).show({ told: found.notes.join(" ") });
    const number = take.sounds.length > 1 ? `, ${take.sounds.length} variations` : "";
    this.say(`The sound of ${take.name} plays: ${durationS(shownSound(take)).toFixed(1)} s${number}.`);
  }

  /** Asks for the library's sounds nearest to a take, and offers them. */
  async search(take) {
    const form = new FormData();
    form.append("imitation", new Blob([wav.encoded(take.imitation.samples, take.imitation.rateHz)]), "imitation");
    take.nearest = (await nearest(form)).nearest;
    if (this.current === take) this.onSelect(take);
  }

  /** What is sent: the recording, what it is to sound like, and curves where the user drew them. */
  form(take) {
    const like = this.soundLike(take.settings.like);
    const form = new FormData();
    const put = (name, content) => form.append(name, new Blob([content]), name);
    const wave = ({ samples, rateHz }) => wav.encoded(samples, rateHz);
    const drawn = take.drawn !== null;
    const isVoiceNeeded = !drawn && take.settings.steer.length > 0;
    if (like && !isVoiceNeeded) put("imitation", wave(like)); // no voice steers: its timbre is all
    else put("imitation", wave(take.imitation));
    if (like && isVoiceNeeded) put("sounds_like", wave(like));
    if (drawn) put("curves", table(take.drawn, this.facts.curves));
    return form;
  }

  // --- What takes may sound like

  /** Keeps a file's sound to sound like; gives the value of its choice. */
  keep(name, sound) {
    const value = `file ${this.files.size + 1}`;
    this.files.set(value, { title: name, sound });
    return value;
  }

  /** The choices, { value, title }, for a take. */
  choices(take) {
    const others = [...this.cards.keys()].filter((one) => one !== take);
    const found = take?.nearest ?? [];
    return [
      ...found.map(({ rank, name, similarity }) => ({ value: `nearest ${rank}`, title: `${rank}. ${name} (${similarity.toFixed(2)})` })),
      ...[...this.files].map(([value, { title }]) => ({ value, title })),
      ...others.map((one) => ({ value: `take ${one.number}`, title: `the voice of ${one.name}` })),
      ...others.filter(shownSound).map((one) => ({ value: `sound ${one.number}`, title: `the sound of ${one.name}` })),
    ];
  }

  /** The sound that is sent along for a choice; none for the imitation and for the library's. */
  soundLike(value) {
    const [kind, number] = value.split(" ");
    if (kind === "file") return this.files.get(value)?.sound;
    if (kind !== "take" && kind !== "sound") return null;
    const take = [...this.cards.keys()].find((one) => one.number === Number(number));
    return kind === "take" ? take?.imitation : take && shownSound(take);
  }
}
