"""qvae_jax from a checkout, as the command `qvae` is of an installed package."""

from qvae_jax.system import memory

if __name__ == "__main__":
    memory.restart_with_huge_pages()  # before anything slow is imported
    from qvae_jax import command_line

    command_line.run()
