"""Making sounds with a model: its inputs, the latents it decodes, and what is written."""
