"""`mmsls export-base`, from a checkout."""

from mmsls.commands.export_base import main

if __name__ == '__main__':
    main()
