"""Swin Transformers, version 1, of all three hosts."""
