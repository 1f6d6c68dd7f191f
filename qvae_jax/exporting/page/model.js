// The model, in a worker of this page: what is recorded stays in the browser, and no server computes.

import * as wav from "./wav.js";

/** What is said to be wrong, in words for the user. */
export class Refused extends Error {}

const worker = new Worker("worker.js", { type: "module" });
const asked = new Map(); // what waits for an answer of the worker, by its number
const numbers = new WeakMap(); // of sounds, by which the worker knows those it has heard
let [numAsked, numSounds] = [0, 0];
let told = null;

/** What the model is, and which values its settings may have; say(text) hears how it is loaded. */
export async function model(say) {
  told = say;
  say("Loading the model …");
  try {
    return await answered({ load: true });
  } finally {
    told = null; // what else comes in says nothing any more
  }
}

/**
 * The sounds of an order: { sounds: [{ samples, rateHz, file, curves }], notes }.
 *
 * imitation and like are sounds { samples, rateHz }, curves [frames][4] those that the user drew; the
 * last two may be null. parameters are as settings.js gives them.
 */
export async function sounds({ imitation, like, curves, parameters }, signal) {
  const order = { imitation: numbered(imitation), like: like && numbered(like), curves, parameters };
  const made = await answered({ order }, signal);
  const found = made.map((sound) => ({ ...sound, file: new Uint8Array(wav.encoded(sound.samples, sound.rateHz)) }));
  return { sounds: found, notes: [] };
}

/** There is no library beside this page. */
export const nearest = async () => ({ nearest: [] });

function numbered(sound) {
  if (!numbers.has(sound)) numbers.set(sound, ++numSounds);
  return { samples: sound.samples, rateHz: sound.rateHz, number: numbers.get(sound) };
}

function answered(message, signal) {
  const number = ++numAsked;
  return new Promise((resolve, reject) => {
    asked.set(number, { resolve, reject });
    signal?.addEventListener("abort", () => {
      if (!asked.delete(number)) return;
      worker.postMessage({ number, stopped: true });
      reject(signal.reason);
    });
    worker.postMessage({ number, ...message });
  });
}

worker.onmessage = ({ data: { number, share, answer, refused } }) => {
  if (share !== undefined) return told?.(`Loading the model: ${Math.round(100 * share)} % …`);
  const waiting = asked.get(number);
  asked.delete(number);
  if (refused) waiting?.reject(new Refused(refused));
  else waiting?.resolve(answer);
};

worker.onerror = (error) => {
  const why = error.message ?? "its files are not all there";
  const refused = new Refused(`The model cannot run here (${why}): use a newer browser, or export the page again.`);
  for (const { reject } of asked.values()) reject(refused);
  asked.clear();
};
