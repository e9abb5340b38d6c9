"""Text files that whoever reads them finds whole, the old or the new."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, text: str) -> None:
    """Put a file in the place of another at once; raises OSError, and ValueError for a path without a name."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
