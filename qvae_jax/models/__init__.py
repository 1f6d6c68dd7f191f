"""Neural networks: layers, the MobileNetV3 encoder, the decoders and the whole QVAE."""
