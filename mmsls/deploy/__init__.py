"""The way out: merged checkpoints, task folders to publish, many tasks on one base."""
