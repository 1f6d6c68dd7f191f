"""A variational autoencoder that turns vocal imitations into synthesised audio, in JAX."""
