"""`python -m rljax` is `rljax`."""

import sys

from rljax.cli import main

sys.exit(main())
