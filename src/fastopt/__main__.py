"""``python -m fastopt`` is the program ``fastopt``."""

import sys

from fastopt.cli.__main__ import main

sys.exit(main())
