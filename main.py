"""The command line in a checkout; an installed package has the command `qvae` for it."""

from qvae_jax.system import memory

if __name__ == "__main__":
    memory.restart_with_huge_pages()  # before anything slow is imported
    from qvae_jax import command_line

    command_line.run()
