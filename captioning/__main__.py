"""`python -m captioning`: see `captioning/cli.py`."""

import sys

try:
    from captioning.cli import main

    code = main()
except KeyboardInterrupt:  # Ctrl-C while Python still reads the packages
    code = "stopped"
sys.exit(code)
