"""What mkdocstrings asks while it reads docstrings: an `Example:` of ours is a section of examples."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Call the section as griffe knows it, so that it is shown as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002
        """Change the heading in place."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r'^( *)Example:$', r'\1Examples:', obj.docstring.value, flags=re.M)
