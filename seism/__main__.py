"""``python -m seism``."""

from seism.cli import main

main()
