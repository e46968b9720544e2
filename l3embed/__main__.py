"""`python -m l3embed`: the same door as the command."""

import sys

from .cli import main

sys.exit(main())
