"""The live page: hum into it, hear the sound, nudge it, hum again."""
