"""`python -m zoo` is `zoo`."""

import sys

from .cli import main

sys.exit(main())
