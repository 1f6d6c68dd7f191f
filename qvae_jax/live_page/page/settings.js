// The controls: how the take that is chosen, and the next one, are to sound.

const FILE = "file"; // of the choices of what to sound like
export const IMITATION = "";

/** What a take is made with before anything is changed. */
export const initial = () => ({
  variations: 1, temperature: 0, seed: 0, transpose: 0, smoothing: 0, duration: "", seconds: 3, rate: "",
  steer: ["loudness", "centroid", "pitch"], like: IMITATION,
});

/** The same with nothing that changes curves, for curves that a user has drawn. */
export const neutral = (settings) => ({ ...settings, transpose: 0, smoothing: 0, duration: "" });

/** As parameters of an order, named as the flags of --mode=generate; drawn: whether the curves are the user's. */
export function parameters(settings, isSteered, drawn) {
  const given = {};
  const say = (name, value, isSaid) => isSaid && (given[name] = value);
  say("variations", settings.variations, settings.variations > 1);
  say("temperature", settings.temperature, settings.temperature > 0);
  say("seed", settings.seed, settings.seed > 0);
  say("sample_rate", settings.rate, settings.rate !== "");
  if (!isSteered) return given;
  const follows = settings.steer.length > 0;
  say("transpose", settings.transpose, settings.transpose !== 0);
  say("steer_smoothing_ms", settings.smoothing, settings.smoothing > 0 && (follows || drawn));
  say("duration", settings.duration === "seconds" ? settings.seconds : settings.duration, settings.duration !== "");
  say("steer", settings.steer.join(",") || "none", !drawn && settings.steer.length < 3);
  return given;
}

/** The form; onChange is called with new settings, onFile with a file to sound like. */
export class Controls {
  constructor(form, facts, onChange, onFile) {
    Object.assign(this, { form, fields: form.elements, title: form.querySelector("h2"), settings: initial() });
    this.file = form.querySelector("#like-file");
    for (const field of form.querySelectorAll(".steered")) field.hidden = !facts.is_steered;
    if (!facts.hears_sounds) this.fields.like.closest(".field").hidden = true;
    this.fields.variations.max = facts.most_variations;
    this.fields.seconds.max = facts.longest_s;
    const rates = facts.sample_rates_hz.filter((rate) => rate !== facts.sample_rate_hz);
    this.fields.rate.replaceChildren(
      new Option(`${facts.sample_rate_hz.toLocaleString("en")} Hz`, ""),
      ...rates.map((rate) => new Option(`${rate.toLocaleString("en")} Hz`, rate)),
    );
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.tell());
    form.addEventListener("change", (event) => this.changed(event.target, onChange));
    form.querySelector("#again").addEventListener("click", () => {
      const { seed, temperature } = this.settings;
      // Without any temperature all draws but those of the noise are one.
      this.show({ ...this.settings, seed: seed + 1, temperature: temperature || 0.7 });
      onChange(this.settings);
    });
    this.file.addEventListener("change", () => this.file.files.length && onFile(this.file.files[0]));
    // On a small screen takes come first.
    form.querySelector("details").open = matchMedia("(min-width: 40rem)").matches;
    this.offer([]);
    this.tell();
  }

  /** Shows a take's settings, and its name. */
  show(settings, name) {
    this.settings = { ...settings };
    const { fields } = this;
    for (const name of ["variations", "temperature", "transpose", "smoothing", "duration", "seconds", "rate", "like"]) {
      fields[name].value = settings[name];
    }
    if (fields.like.selectedIndex < 0) fields.like.value = IMITATION;
    for (const box of fields.steer) box.checked = settings.steer.includes(box.value);
    if (name) this.title.textContent = `Settings of ${name}, and of the next take`;
    this.tell();
  }

  /** Offers sounds { value, title } to sound like. */
  offer(sounds) {
    const { like } = this.fields;
    const chosen = like.value;
    like.replaceChildren(
      new Option("the imitation itself", IMITATION),
      ...sounds.map(({ value, title }) => new Option(title, value)),
      new Option("a file…", FILE),
    );
    like.value = sounds.some(({ value }) => value === chosen) ? chosen : IMITATION;
  }

  changed(field, onChange) {
    if (field === this.file) return;
    if (field === this.fields.like && field.value === FILE) {
      field.value = this.settings.like;
      this.file.value = "";
      return this.file.click();
    }
    const found = this.read();
    // Variations at temperature 0 are all the same sound.
    if (found.variations > 1 && found.temperature === 0) {
      if (field === this.fields.temperature) found.variations = 1;
      else found.temperature = 0.7;
    }
    this.show(found);
    onChange(this.settings);
  }

  read() {
    const { fields } = this;
    const within = (field) => Math.min(Number(field.max), Math.max(Number(field.min), Number(field.value) || Number(field.min)));
    return {
      ...this.settings,
      variations: Math.round(within(fields.variations)),
      temperature: Number(fields.temperature.value),
      transpose: Number(fields.transpose.value),
      smoothing: Number(fields.smoothing.value),
      duration: fields.duration.value,
      seconds: within(fields.seconds),
      rate: fields.rate.value,
      like: fields.like.value,
      steer: [...fields.steer].filter((box) => box.checked).map((box) => box.value),
    };
  }

  /** Says beside each slider what it stands at. */
  tell() {
    const { fields } = this;
    const said = {
      temperature: Number(fields.temperature.value).toFixed(2),
      transpose: `${Number(fields.transpose.value) > 0 ? "+" : ""}${fields.transpose.value} semitones`,
      smoothing: fields.smoothing.value === "0" ? "none" : `${fields.smoothing.value} ms`,
    };
    for (const [name, text] of Object.entries(said)) {
      this.form.querySelector(`output[for=${name}]`).value = text;
      fields[name].setAttribute("aria-valuetext", text);
    }
    fields.seconds.hidden = fields.duration.value !== "seconds";
  }
}
