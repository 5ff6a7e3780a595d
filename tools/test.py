"""`mmsls test`, from a checkout."""

from mmsls.commands.test import main

if __name__ == '__main__':
    main()
