// Plays one sound at a time, and switches between two at the same place.

/** onChange is called with what plays, and null when that ends. */
export class Player {
  constructor(context, onChange) {
    this.context = context;
    this.onChange = onChange;
    this.playing = null;
  }

  /** Plays a sound { samples, rateHz } from a time in seconds; what played before stops. */
  play(sound, fromS = 0) {
    this.stop();
    this.context.resume();
    const buffer = this.context.createBuffer(1, Math.max(1, sound.samples.length), sound.rateHz);
    buffer.copyToChannel(sound.samples, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    source.onended = () => this.playing?.source === source && this.stop();
    source.start(0, Math.min(fromS, buffer.duration));
    this.playing = { sound, source, startedS: this.context.currentTime - fromS };
    this.onChange(sound);
  }

  stop() {
    if (!this.playing) return;
    const { source } = this.playing;
    this.playing = null;
    source.onended = null;
    source.stop();
    this.onChange(null);
  }

  toggle(sound) {
    if (this.isPlaying(sound)) this.stop();
    else this.play(sound);
  }

  /** A/B: what plays goes on as the other one; where neither does, the first begins. */
  alternate(first, second) {
    const atS = this.atS;
    if (this.isPlaying(first)) this.play(second, atS);
    else this.play(first, this.isPlaying(second) ? atS : 0);
  }

  isPlaying(sound) {
    return this.playing?.sound === sound;
  }

  /** How far what plays has come, in seconds. */
  get atS() {
    return this.playing ? this.context.currentTime - this.playing.startedS : 0;
  }
}
