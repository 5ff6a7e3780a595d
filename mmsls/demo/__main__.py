"""Make what the demo's configs need: `python -m mmsls.demo` draws the scenes and pre-trains the base, once."""

from __future__ import annotations

from mmsls.demo.embedded import make_embedded

if __name__ == '__main__':
    make_embedded()
