"""Convolutions in time as one matrix product by all taps, and sums of what it gives.

The taps of a kernel [taps, in, out] are laid side by side, [in, taps·out]. One product with a sound
[time, in] then holds, for each input sample, what every tap makes of it; an output sample is a sum
of such entries. Three taps, for example, which read one sample before, the same and one after:

    products       tap 0    tap 1    tap 2
    of x[t - 1]    [ · ]      ·        ·
    of x[t]          ·      [ · ]      ·        y[t] is the sum of the three in brackets
    of x[t + 1]      ·        ·      [ · ]

So each tap's columns are shifted in time, here by -1, 0 and +1 samples, and added up.

A convolution that also upsamples writes several samples for each input sample, its phases, and
every phase has taps and shifts of its own. A transposed convolution of kernel and stride 3 has
three phases of one tap each:  y[3t], y[3t + 1], y[3t + 2]  =  tap 0, tap 1, tap 2  of x[t].
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclasses.dataclass(frozen=True)
class Shifted:
    """A convolution given by what each phase sums: its (tap, shift), of input sample t + shift."""

    phases: tuple[tuple[tuple[int, int], ...], ...]

    def forward(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """[…, time, in] with [taps, in, out] -> […, phases·time, out]."""
        num_out, time, reach = kernel.shape[-1], x.shape[-2], self._reach()
        products = _with_edges(x, reach) @ side_by_side(kernel)
        phases = [
            sum(
                products[
                    ..., reach + shift : reach + shift + time, tap * num_out : (tap + 1) * num_out
                ]
                for tap, shift in phase
            )
            for phase in self.phases
        ]
        return jnp.concatenate(phases, -1).reshape(*x.shape[:-2], len(phases) * time, num_out)

    def gradients(
        self, x: jax.Array, kernel: jax.Array, cotangent: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """By x and by kernel, given that by the result."""
        return _gradients_of_product(x, kernel, self._of_products(cotangent, len(kernel)))

    def _of_products(self, cotangent: jax.Array, num_taps: int) -> jax.Array:
        """The gradient by the products, […, time, taps·out]: the same sums with shifts reversed."""
        *batch, long, num_out = cotangent.shape
        num_phases, reach = len(self.phases), self._reach()
        time = long // num_phases
        padded = _with_edges(cotangent.reshape(*batch, time, num_phases * num_out), reach)
        of_tap = [
            sum(
                padded[
                    ...,
                    reach - shift : reach - shift + time,
                    phase * num_out : (phase + 1) * num_out,
                ]
                for phase, of_phase in enumerate(self.phases)
                for read, shift in of_phase
                if read == tap
            )
            for tap in range(num_taps)
        ]
        return jnp.concatenate(of_tap, axis=-1)

    def _reach(self) -> int:
        """The farthest that any output sample reads from its own input sample."""
        return max(abs(shift) for phase in self.phases for _, shift in phase)


def same_length(num_taps: int, dilation: int = 1) -> Shifted:
    """plain.conv1d: a single phase, whose taps lie dilation samples apart."""
    return Shifted((tuple((tap, dilation * (tap - num_taps // 2)) for tap in range(num_taps)),))


TRANSPOSED3 = Shifted(tuple(((phase, 0),) for phase in range(3)))  # transposed_conv1d_stride3


@dataclasses.dataclass(frozen=True)
class Upsampled3:
    """Nearest ×3 upsampling and then a same-length convolution: plain.upsample3_conv1d.

    To repeat each sample three times is to spread the samples out, each in the middle of a row of
    three with zeros beside it, and then to add to every sample its two neighbours:

        x               a         b         c
        spread out    0 a 0     0 b 0     0 c 0
        summed        a a a     b b b     c c c

    Sum and convolution may change places, as both only shift and add. So the convolution comes
    first, while most samples are still zeros, where it multiplies each sample of x once by each
    tap. With five taps k0 … k4, x[t] writes five samples around the middle of its row t:

        row               t - 1           t           t + 1
        written by x[t]   .  .  k4    k3  k2  k1    k0  .  .
        tap reversed            0     1   2   3     4
        slot in the row         2     0   1   2     0

    With the taps in reverse order, three neighbours in the product are a row as it stands; every
    other tap is added to one slot of a row before or after it. The sum of neighbours comes last.
    It reaches one sample beyond both edges, hence a row more on either side.
    """

    def forward(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """[…, time, in] with [taps, in, out] -> […, 3·time, out]."""
        num_taps, _, num_out = kernel.shape
        if num_taps == 1:
            return jnp.repeat(x @ kernel[0], 3, axis=-2)
        *batch, time, _ = x.shape
        first, reach = _first_of_own_row(num_taps), _row_reach(num_taps) + 1
        products = _with_edges(x, reach) @ side_by_side(kernel[::-1])

        def written(taps: slice, offset: int) -> jax.Array:
            """What these taps write to the rows -1 to time, each from offset rows before it."""
            start = reach - 1 - offset
            columns = slice(taps.start * num_out, taps.stop * num_out)
            return products[..., start : start + time + 2, columns]

        rows = written(slice(first, first + 3), 0).reshape(*batch, time + 2, 3, num_out)
        slot_of = lax.broadcasted_iota(np.int32, rows.shape, rows.ndim - 2)
        for tap in [*range(first), *range(first + 3, num_taps)]:
            offset, slot = divmod(tap - first, 3)
            others = written(slice(tap, tap + 1), offset)[..., None, :]
            rows = rows + jnp.where(slot_of == slot, others, 0.0)
        convolved = rows.reshape(*batch, 3 * (time + 2), num_out)
        # Sample 0 is the fourth, after the row -1; its neighbours are the third and the fifth.
        return sum(convolved[..., start : start + 3 * time, :] for start in (2, 3, 4))

    def gradients(
        self, x: jax.Array, kernel: jax.Array, cotangent: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """By x and by kernel, given that by the result."""
        of_products = self._of_products(cotangent, len(kernel))
        by_x, by_reversed = _gradients_of_product(x, kernel[::-1], of_products)
        return by_x, by_reversed[::-1]

    def _of_products(self, cotangent: jax.Array, num_taps: int) -> jax.Array:
        """The gradient by the products of forward, […, time, taps·out]."""
        *batch, long, num_out = cotangent.shape
        time, reach, first = long // 3, _row_reach(num_taps), _first_of_own_row(num_taps)
        num_rows = time + 2 * reach
        padded = _with_edges(cotangent, 3 * reach + 1)
        sums = sum(padded[..., start : start + 3 * num_rows, :] for start in (0, 1, 2))
        rows = sums.reshape(*batch, num_rows, 3 * num_out)

        def of_tap(tap: int) -> jax.Array:
            offset, slot = divmod(tap - first, 3)
            columns = slice(slot * num_out, (slot + 1) * num_out)
            return rows[..., reach + offset : reach + offset + time, columns]

        return jnp.concatenate([of_tap(tap) for tap in range(num_taps)], axis=-1)


Kind = Shifted | Upsampled3


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, kind: Kind) -> jax.Array:
    """[…, time, in] with [taps, in, out] -> […, phases·time, out], zeros beyond the edges.

    The gradient is written out because JAX's own, a chain of pads and scatters, takes about twice
    as long on CPU.
    """
    return kind.forward(x, kernel)


convolve.defvjp(
    lambda x, kernel, kind: (convolve(x, kernel, kind), (x, kernel)),
    lambda kind, saved, cotangent: kind.gradients(*saved, cotangent),
)


def side_by_side(kernel: jax.Array) -> jax.Array:
    """[taps, in, out] -> [in, taps·out]: one matrix that multiplies by every tap at once."""
    return kernel.transpose(1, 0, 2).reshape(kernel.shape[1], -1)


def _gradients_of_product(
    x: jax.Array, kernel: jax.Array, of_products: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """By x and by kernel, given that by x @ side_by_side(kernel)."""
    num_taps, num_in, num_out = kernel.shape
    by_kernel = x.reshape(-1, num_in).T @ of_products.reshape(-1, num_taps * num_out)
    by_kernel = by_kernel.reshape(num_in, num_taps, num_out).transpose(1, 0, 2)
    return of_products @ side_by_side(kernel).T, by_kernel


def _first_of_own_row(num_taps: int) -> int:
    """Which tap, in reverse order, writes to the first slot of its input sample's own row."""
    return num_taps // 2 - 1


def _row_reach(num_taps: int) -> int:
    """The most rows by which a tap writes before or after its input sample's own."""
    half = num_taps // 2
    return max(abs(place // 3) for place in (1 - half, 1 + half))


def _with_edges(x: jax.Array, reach: int) -> jax.Array:
    """[…, time, C] with reach zeros before and after."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(reach, reach), (0, 0)])
