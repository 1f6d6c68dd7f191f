"""The whole way from a voice to a sound as one pure function of arrays, of fixed lengths.

    waveform ──> log-mel ──> encoder ──> mean, log-variance ──> z ───────────────┐
        │                                      or z_given ───────┤               v
        └──> at 22,050 Hz ──> curves, from where it is heard ──> chosen ──> renderer ──> sound
                          gesture head of z, curves_given ────────┘

Other decoders have no curves, and make the sound of z alone.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qvae_jax.audio import controls, inverse_stft
from qvae_jax.audio.controls import HOP_LENGTH, LOUDNESS, SAMPLE_RATE_HZ
from qvae_jax.audio.logmel import log_mel
from qvae_jax.exporting import resampling
from qvae_jax.models import decoders, sound_encoder, variables
from qvae_jax.models.frame_decoder import NUM_FRAMES
from qvae_jax.models.qvae import QVAE, QVAEConfig, moved
from qvae_jax.models.steered import AUDIBLE_DB, within_range
from qvae_jax.models.variables import Variables

OF_VOICE, OF_GESTURE, GIVEN, OF_WHOLE_GESTURE = range(4)  # where a curve is taken from
NATURAL = -1  # for num_frames_given: as long as the gesture head says
SHORT_S = 2.7  # of the second graph of a steered model, whose work grows with the length

Arrays = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Graph:
    """One graph of a model: for voices up to duration_s.

    Attributes:
        config: the model's.
        duration_s: of the waveform that goes in; all of the front end's, or less.
    """

    config: QVAEConfig
    duration_s: float

    @property
    def num_samples(self) -> int:
        """Of the waveform, at the front end's rate."""
        return round(self.duration_s * self.config.front_end.sample_rate_hz)

    @property
    def num_frames(self) -> int:
        """Of the longest sound: those of the voice's curves, or a gesture's, or the decoder's."""
        if not self.config.is_steered:
            return NUM_FRAMES
        heard = resampling.count(self.num_samples, self.config.front_end.sample_rate_hz)
        return max(NUM_FRAMES, controls.num_frames(heard))

    @property
    def num_sound_samples(self) -> int:
        """Of the longest sound."""
        if not self.config.is_steered:
            return self.config.num_samples
        return self.num_frames * self.hop_length

    @property
    def hop_length(self) -> int:
        """Samples of a frame of sound, at the model's rate."""
        return controls.hop_length(self.config.sample_rate_hz)

    @property
    def uses_noise(self) -> bool:
        """Whether the decoder filters noise."""
        return self.config.decoder_type in decoders.AT_FRAME_RATE

    @property
    def tells_sounds(self) -> bool:
        """Whether a sound has another latent than the same waveform as a voice."""
        return self.config.voice_share < 1

    @property
    def num_noise_samples(self) -> int:
        """Of the noise that frame and steered decoders filter."""
        return (self.num_frames + 2 * inverse_stft.MARGIN) * self.hop_length


def graphs_of(config: QVAEConfig) -> list[Graph]:
    """The graphs that a model is exported as: the whole one, and of a steered model a short one.

    Both give the same sound. The encoder hears as much silence after a short voice as it always has.
    """
    whole = config.front_end.duration_s
    short = [SHORT_S] if config.is_steered and whole > SHORT_S else []
    return [Graph(config, duration_s) for duration_s in (whole, *short)]


def function(graph: Graph, given: Variables) -> Callable[[Arrays], dict[str, jax.Array]]:
    """The graph of these weights: a function of its inputs by name, as description.inputs has them.

    It gives the outputs by name. Its programs are to be traced within
    platforms.compiling_for(ANY), so that no form of one platform is in them.
    """
    # Of two encoders the one that hears voices.
    of_voices, given = sound_encoder.one_alone(graph.config, given)
    structure, _ = variables.split(QVAE(of_voices, rng=None))

    def whole(inputs: Arrays) -> dict[str, jax.Array]:
        model = variables.merge(structure, given)
        heard = _masked(inputs["waveform"], inputs["num_samples"])
        front_end = graph.config.front_end
        logmel = log_mel(_fitted(heard, front_end.num_samples), front_end)
        voices = inputs["is_sound"] < 0.5 if graph.tells_sounds else True
        mean, log_variance = model.posterior(model.features(logmel), voices=voices)
        z = moved(mean, log_variance, inputs["epsilon"], inputs["temperature"][:, None])
        z = jnp.where(inputs["use_z"][:, None] > 0.5, inputs["z_given"], z)
        found = {"mean": mean, "log_variance": log_variance, "z": z}
        if graph.config.is_steered:
            return found | _steered(graph, model.decoder, heard, z, inputs)
        if model.decoder.uses_noise:
            sound = model.decoder.of_noise(z, inputs["noise"])
        else:
            sound = model.decoder(z)
        counts = jnp.full(z.shape[:1], sound.shape[-1], jnp.int32)
        return found | {"sound": sound, "num_sound_samples": counts}

    return whole


def _masked(waveform: jax.Array, num_samples: jax.Array) -> jax.Array:
    """The waveform, silent after its first num_samples [batch]."""
    return jnp.where(np.arange(waveform.shape[-1]) < num_samples[:, None], waveform, 0.0)


def _fitted(samples: jax.Array, length: int) -> jax.Array:
    missing = max(0, length - samples.shape[-1])
    return jnp.pad(samples, [(0, 0), (0, missing)])[:, :length]


def _steered(
    graph: Graph, decoder, heard: jax.Array, z: jax.Array, inputs: Arrays
) -> dict[str, jax.Array]:
    gesture, durations_s = decoder.gesture(z)
    gesture, natural_frames = within_range(gesture), _frames_of(durations_s)
    voice, first, voice_frames = _voice(graph, heard, inputs["num_samples"])
    asked = inputs["num_frames_given"]
    num_frames = jnp.where(asked == NATURAL, natural_frames, voice_frames)
    num_frames = jnp.where(asked > 0, jnp.minimum(asked, graph.num_frames), num_frames)
    none = jnp.zeros_like(first)
    held = [(0, 0), (0, graph.num_frames - gesture.shape[1]), (0, 0)]
    curves = _chosen(
        inputs["curve_source"],
        {
            OF_VOICE: _stretched(voice, first, voice_frames, num_frames, graph.num_frames),
            OF_GESTURE: _stretched(gesture, none, natural_frames, num_frames, graph.num_frames),
            GIVEN: inputs["curves_given"],
            OF_WHOLE_GESTURE: jnp.pad(gesture, held, mode="edge"),
        },
    )
    curves = within_range(curves)
    valid = np.arange(graph.num_frames) < num_frames[:, None]
    return {
        "sound": decoder.renderer.of_noise(z, curves, inputs["noise"], valid),
        "num_sound_samples": num_frames * graph.hop_length,
        "curves": curves,
        "num_frames": num_frames,
        "duration_s": durations_s,
    }


def _voice(
    graph: Graph, heard: jax.Array, num_samples: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Curves [batch, frames, 4] of voices, the first frame that is heard, and how many there are.

    As generation.voice has it, where leading silence is cut off.
    """
    rate_hz = graph.config.front_end.sample_rate_hz
    samples = _fitted(resampling.resampled(heard, rate_hz), graph.num_frames * HOP_LENGTH)
    counts = resampling.count(num_samples, rate_hz)
    curves = controls.controls(samples, counts)
    loudness_db = curves[..., LOUDNESS]
    loudest_db = jnp.max(loudness_db, axis=1, keepdims=True)
    # The least place of those that are heard; argmax of what is true is slower in some runtimes.
    places = np.arange(graph.num_frames, dtype=np.int32)
    first = jnp.min(
        jnp.where(loudness_db >= loudest_db - AUDIBLE_DB, places, graph.num_frames - 1), axis=1
    )
    num_frames = jnp.maximum(1, -(-counts // HOP_LENGTH))
    return curves, first, num_frames - first


def _frames_of(durations_s: jax.Array) -> jax.Array:
    """As generation.gestures.frames_of, of a gesture."""
    frames = jnp.round(durations_s * (SAMPLE_RATE_HZ / HOP_LENGTH)).astype(jnp.int32)
    return jnp.clip(frames, 1, NUM_FRAMES)


def _stretched(
    curves: jax.Array, first: jax.Array, length: jax.Array, num_frames: jax.Array, total: int
) -> jax.Array:
    """The frames of curves from first on, `length` of them, in num_frames; held up to total.

    As audio.curves.stretched, on lines between the middles of frames: [batch, n, 4] ->
    [batch, total, 4]. A product with the weights of a line, which in a row are 1 - t and t, for no
    runtime has to gather then. Places are counted in whole parts of 1 / (2·num_frames) of a frame,
    so that where nothing is stretched all stays as it is, to the last bit.
    """
    whole = 2 * num_frames[:, None]
    wanted = jnp.minimum(np.arange(total, dtype=np.int32), num_frames[:, None] - 1)
    places = (2 * wanted + 1) * length[:, None] - num_frames[:, None]
    places = jnp.clip(places, 0, whole * (length[:, None] - 1)) + whole * first[:, None]
    frames = np.arange(curves.shape[1], dtype=np.int32)
    apart = places[..., None] - whole[..., None] * frames
    away = jnp.abs(apart).astype(jnp.float32) / whole[..., None].astype(jnp.float32)
    return jnp.matmul(jnp.maximum(0.0, 1.0 - away), curves, precision=lax.Precision.HIGHEST)


def _chosen(source: jax.Array, choices: Mapping[int, jax.Array]) -> jax.Array:
    """Of each curve the choice that source [batch, 4] names: [batch, frames, 4]."""
    found = choices[OF_VOICE]
    for number, curves in choices.items():
        found = jnp.where(source[:, None, :] == number, curves, found)
    return found
