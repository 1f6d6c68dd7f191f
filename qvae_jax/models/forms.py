"""The door to the fast forms: the operations of plain.py, computed as suits the platform.

Programs compiled for the CPU are made of the fast forms in cpu/, those for any other platform of
the plain ones (system/platforms.py decides, at each trace). Both give the same up to rounding.
"""

import jax

from qvae_jax.models import plain
from qvae_jax.models.cpu import branches, convolutions, linear_upsampling, maps, stages, steps
from qvae_jax.system import platforms

_on_cpu = platforms.with_cpu_form

conv1d = _on_cpu(convolutions.conv1d)(plain.conv1d)
upsample3_conv1d = _on_cpu(convolutions.upsample3_conv1d)(plain.upsample3_conv1d)
transposed_conv1d_stride3 = _on_cpu(convolutions.transposed_conv1d_stride3)(
    plain.transposed_conv1d_stride3
)
upsample3_linear_conv1d = _on_cpu(linear_upsampling.upsample3_linear_conv1d)(
    plain.upsample3_linear_conv1d
)
mixed_branches = _on_cpu(branches.mixed_branches)(plain.mixed_branches)

conv2d = _on_cpu(maps.conv2d)(plain.conv2d)
gated_conv2d = _on_cpu(maps.gated_conv2d)(plain.gated_conv2d)
depthwise_conv2d = _on_cpu(maps.depthwise_conv2d)(plain.depthwise_conv2d)
mean_of_places = _on_cpu(maps.mean_of_places)(plain.mean_of_places)

# Operator by operator, as runtimes of ONNX go, one convolution is faster than a sum of products. A
# function that is traced under its name becomes the operator of that name.
gelu = platforms.with_onnx_form(jax.jit(plain.gelu))(plain.gelu)
depthwise_conv1d = platforms.with_onnx_form(plain.grouped_conv1d)(plain.depthwise_conv1d)

in_turn = _on_cpu(steps.in_turn, where=platforms.samples_apart)(plain.in_turn)
train_stages = _on_cpu(stages.train_stages, where=platforms.samples_apart)(plain.train_stages)
