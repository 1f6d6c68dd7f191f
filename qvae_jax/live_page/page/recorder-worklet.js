// In the audio thread: passes on what the microphone hears while recording, in blocks.

const BLOCK = 2048;

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.recording = false;
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
    this.port.onmessage = ({ data }) => {
      if (data === "start") [this.recording, this.filled] = [true, 0];
      else this.stop();
    };
  }

  stop() {
    if (!this.recording) return;
    this.recording = false;
    this.send();
    this.port.postMessage("stopped");
  }

  send() {
    this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }

  process([input]) {
    if (!this.recording || input.length === 0) return true;
    const samples = input[0];
    if (this.filled + samples.length > BLOCK) this.send();
    this.block.set(samples, this.filled);
    this.filled += samples.length;
    return true;
  }
}

registerProcessor("recorder", Recorder);
