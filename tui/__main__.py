"""`python -m tui` is `lenscope`."""

import sys

from tui.cli import main

sys.exit(main())
