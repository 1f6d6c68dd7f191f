// The model, as a server has it. Its token comes with the address, and leaves the address bar at once.

import { table } from "./curves.js";
import * as wav from "./wav.js";

const KEPT_AS = "qvae-token";
let facts;

/** What is said to be wrong, or that no answer comes, in words for the user. */
export class Refused extends Error {}

/** What the model is, and which values its settings may have. */
export async function model() {
  takeToken();
  return (facts = await asked("api/model", {}));
}

/**
 * The sounds of an order: { sounds: [{ samples, rateHz, file, curves }], notes }.
 *
 * imitation and like are sounds { samples, rateHz }, curves [frames][4] those that the user drew; the
 * last two may be null. parameters are as settings.js gives them.
 */
export async function sounds({ imitation, like, curves, parameters }, signal) {
  const form = formOf({
    imitation: wav.encoded(imitation.samples, imitation.rateHz),
    ...(like && { sounds_like: wav.encoded(like.samples, like.rateHz) }),
    ...(curves && { curves: table(curves, facts.curves) }),
  });
  const query = new URLSearchParams(parameters);
  const found = await asked(`api/sound?${query}`, { method: "POST", body: form, signal });
  return { notes: found.notes, sounds: found.sounds.map((sound) => decoded(sound, found.sample_rate_hz)) };
}

/** The library's sounds that are nearest to a sound: { nearest, unlike_everything }. */
export const nearest = ({ samples, rateHz }) =>
  asked("api/nearest", { method: "POST", body: formOf({ imitation: wav.encoded(samples, rateHz) }) });

function decoded({ file, curves }, rateHz) {
  const bytes = Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
  return { file: bytes, samples: wav.decoded(bytes), rateHz, curves };
}

function formOf(parts) {
  const form = new FormData();
  for (const [name, content] of Object.entries(parts)) form.append(name, new Blob([content]), name);
  return form;
}

/** Reads the token that the address ends with, and keeps it for reloads of this tab. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  sessionStorage.setItem(KEPT_AS, token);
  history.replaceState(null, "", location.pathname);
}

async function asked(path, options) {
  const token = sessionStorage.getItem(KEPT_AS) ?? "";
  const headers = { Accept: "application/json", Authorization: `Bearer ${token}` };
  let answer, found;
  try {
    answer = await fetch(path, { ...options, headers });
    found = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Start it again, and open the address that it prints.");
  }
  if (!answer.ok) throw new Refused(found.error);
  return found;
}
