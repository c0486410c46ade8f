"""`python -m captioning`: see `captioning/cli.py`."""

import sys

from captioning.cli import main

sys.exit(main())
