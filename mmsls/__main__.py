"""`python -m mmsls` is the command `mmsls`."""

import sys

from mmsls.commands import main

if __name__ == '__main__':
    sys.exit(main())
