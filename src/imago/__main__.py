"""``python -m imago`` is the command ``imago``."""

from __future__ import annotations

from imago.cli.main import main

if __name__ == "__main__":
    main()
