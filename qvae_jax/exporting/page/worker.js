// Where the model computes, beside the page, so that the page can always be used: loads it, then makes sounds.

import * as ort from "./onnxruntime-web/ort.js";
import { Maker } from "./making.js";

const ORT = "onnxruntime-web/";
const stopped = new Set(); // the numbers of orders whose sounds nobody wants any more
let maker, last = Promise.resolve();

onmessage = ({ data }) => {
  if (data.stopped) stopped.add(data.number);
  else last = last.then(() => answer(data)); // one after the other
};

async function answer({ number, load, order }) {
  try {
    const found = load ? await loaded() : await maker.make(order, () => isStopped(number));
    postMessage({ number, answer: found });
  } catch (error) {
    const what = load ? "The model cannot be loaded" : "The sound cannot be made";
    postMessage({ number, refused: `${what} (${error.message}): reload the page, or export it again.` });
  }
  stopped.delete(number);
}

/** Builds what longer sounds need, part by part, between which orders have their turn. */
function prepare(parts) {
  last = last.then(async () => {
    const part = await parts.next().catch(() => ({ done: true })); // who orders such a sound is told
    if (!part.done) setTimeout(() => prepare(parts));
  });
}

/** Whether an order is to be given up; lets messages that say so come in. */
async function isStopped(number) {
  await new Promise((resolve) => setTimeout(resolve));
  return stopped.has(number);
}

async function loaded() {
  const page = await (await fetched("page.json")).json();
  const files = await read(page.files);
  Object.assign(ort.env, { logLevel: "error" });
  Object.assign(ort.env.wasm, {
    numThreads: 1, // more would need headers that not every host sends
    wasmPaths: { mjs: new URL(`${ORT}ort-wasm.js`, location).href },
    wasmBinary: files[`${ORT}ort.wasm`],
  });
  const noise = new Float32Array(page.noise ? files[page.noise] : 0);
  maker = new Maker(page, (name) => session(name, page.arrays, files), noise);
  await maker.warmUp();
  setTimeout(() => prepare(maker.prepare()));
  return page.facts;
}

/** A part of the model, as a function of inputs { name: { type, data, shape } } to outputs { name: data }. */
async function session(name, arrays, files) {
  const held = await ort.InferenceSession.create(new Uint8Array(files[name]), {
    executionProviders: ["wasm"],
    externalData: [{ path: arrays, data: new Uint8Array(files[arrays]) }],
  });
  return async (inputs) => {
    const feeds = Object.entries(inputs).map(([input, { type, data, shape }]) => [input, new ort.Tensor(type, data, shape)]);
    const outputs = await held.run(Object.fromEntries(feeds));
    return Object.fromEntries(Object.entries(outputs).map(([output, tensor]) => [output, tensor.data]));
  };
}

/** The contents of files { name: bytes }, all at once; tells the page how far they have come. */
async function read(sizes) {
  const whole = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  let [come, said] = [0, 0];
  const one = async (name) => {
    const bytes = new Uint8Array(sizes[name]);
    let at = 0;
    for await (const chunk of chunks(await fetched(name))) {
      if (at + chunk.length > bytes.length) throw new Error(`${name} is not the file that was exported`);
      bytes.set(chunk, at);
      at += chunk.length;
      come += chunk.length;
      if (come - said < 0.05 * whole) continue;
      said = come;
      postMessage({ share: come / whole });
    }
    if (at < bytes.length) throw new Error(`${name} is not whole`);
    return [name, bytes.buffer];
  };
  return Object.fromEntries(await Promise.all(Object.keys(sizes).map(one)));
}

async function* chunks(response) {
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

async function fetched(name) {
  const response = await fetch(name, { cache: "no-cache" }); // what is kept may be an earlier export's
  if (!response.ok) throw new Error(`${name} is missing`);
  return response;
}
