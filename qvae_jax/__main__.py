"""The entrance: `python3 -m qvae_jax`, the command qvae and main.py are all this."""

from qvae_jax.system import entrance, memory


def main() -> None:
    """Runs the command line, with its imports inside what explains how they fail."""
    memory.restart_with_huge_pages()  # before anything slow is imported
    with entrance.one_line():
        with entrance.importing():
            from qvae_jax import command_line
        command_line.run()


if __name__ == "__main__":
    main()
