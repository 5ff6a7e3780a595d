"""The embedded default: scenes of real handwritten digits and a nano Swin, made on the spot without a download."""
