// The list of takes, and what is asked of the model for each.

import { nearest, Refused, sounds } from "./model.js";
import { neutral, parameters } from "./settings.js";
import { durationS, newTake, shownSound, TakeCard } from "./take.js";

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
    try {
      const making = sounds(this.order(take), asking.signal); // and meanwhile the card is drawn
      card.show({ busy: true, told: "Making the sound …" });
      this.accept(take, await making);
      if (this.facts.has_library && !take.nearest) await this.search(take);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      card.show({ told: error.message, fault: true, retry: true });
      this.say(error.message, true);
    }
  }

  accept(take, found) {
    take.sounds = found.sounds;
    take.chosen = Math.min(take.chosen, take.sounds.length - 1);
    this.player.play(shownSound(take));
    performance.mark("sound-playing", { detail: take.number });
    this.cards.get(take).show({ told: found.notes.join(" ") });
    const number = take.sounds.length > 1 ? `, ${take.sounds.length} variations` : "";
    this.say(`The sound of ${take.name} plays: ${durationS(shownSound(take)).toFixed(1)} s${number}.`);
  }

  /** Asks for the library's sounds nearest to a take, and offers them. */
  async search(take) {
    take.nearest = (await nearest(take.imitation)).nearest;
    if (this.current === take) this.onSelect(take);
  }

  /** What is asked for: the recording, what it is to sound like, and curves where the user drew them. */
  order(take) {
    const { settings, drawn: curves } = take;
    const like = this.soundLike(settings.like);
    const asked = parameters(settings, this.facts.is_steered, curves !== null);
    const [kind, rank] = settings.like.split(" ");
    if (kind === "nearest") asked.nearest = rank;
    const isVoiceNeeded = curves === null && settings.steer.length > 0;
    if (isVoiceNeeded || !like) return { imitation: take.imitation, like, curves, parameters: asked };
    return { imitation: like, like: null, curves, parameters: asked }; // no voice steers: its timbre is all
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
