"""`mmsls bridge`, from a checkout."""

from mmsls.commands.bridge import main

if __name__ == '__main__':
    main()
