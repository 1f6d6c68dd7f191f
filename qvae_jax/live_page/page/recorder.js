// The microphone: samples as they are, at the audio context's own rate.

const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const KEPT_OPEN_MS = 60_000; // a microphone takes long to open, and takes follow each other

/** Why there is no recording, in words for the user. */
export class NoMicrophone extends Error {}

/** Records takes; onBlock is called with each block of samples as it is heard. */
export class Recorder {
  constructor(context, onBlock) {
    this.context = context;
    this.onBlock = onBlock;
    this.blocks = [];
    this.stopped = null;
  }

  /** Begins a take, once the microphone is there; throws NoMicrophone. */
  async start() {
    clearTimeout(this.closing);
    await this.open();
    this.blocks = [];
    this.node.port.postMessage("start");
  }

  /** Ends the take, and gives its samples. */
  async stop() {
    await new Promise((resolve) => {
      this.stopped = resolve;
      this.node.port.postMessage("stop");
    });
    this.closing = setTimeout(() => this.close(), KEPT_OPEN_MS);
    const samples = new Float32Array(this.blocks.reduce((sum, block) => sum + block.length, 0));
    let at = 0;
    for (const block of this.blocks) {
      samples.set(block, at);
      at += block.length;
    }
    this.blocks = [];
    return samples;
  }

  async open() {
    await this.context.resume();
    if (this.stream?.getAudioTracks().some((track) => track.readyState === "live")) return;
    this.stream = await microphone();
    if (!this.node) {
      await this.context.audioWorklet.addModule("recorder-worklet.js");
      this.node = new AudioWorkletNode(this.context, "recorder", {
        numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit",
      });
      this.node.port.onmessage = ({ data }) => this.hear(data);
    }
    this.source = this.context.createMediaStreamSource(this.stream);
    this.source.connect(this.node);
  }

  close() {
    this.source?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
  }

  hear(data) {
    if (data === "stopped") return this.stopped?.();
    this.blocks.push(data);
    this.onBlock(data);
  }
}

async function microphone() {
  if (!navigator.mediaDevices) {
    throw new NoMicrophone(
      "The browser gives no microphone to a page that is neither on this machine nor https. Drop a sound file instead.",
    );
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
  } catch (error) {
    const why = {
      NotAllowedError: "The microphone is denied. Allow it in the browser’s settings for this page, or drop a sound file.",
      NotFoundError: "There is no microphone. Plug one in, or drop a sound file.",
      NotReadableError: "The microphone cannot be opened; another program may hold it. Close that, or drop a sound file.",
    };
    throw new NoMicrophone(why[error.name] ?? `There is no microphone (${error.message}).`);
  }
}
