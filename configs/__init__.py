"""The configs that come with qvae_jax: `--config=quickstart` names configs/quickstart.py.

An installed package has this folder as `qvae_jax.configs`, a checkout as `configs`. A config says
`from configs import vimsketch` in either, shipped or your own.
"""

import sys

sys.modules.setdefault("configs", sys.modules[__name__])
