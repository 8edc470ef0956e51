"""`python -m benchmarks` is `zoo-bench`."""

import sys

from .cli import main

sys.exit(main())
