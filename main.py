"""The command line in a checkout; an installed package has the command `qvae` for it."""

from qvae_jax.__main__ import main

if __name__ == "__main__":
    main()
