"""`mmsls report`, from a checkout."""

from mmsls.commands.report import main

if __name__ == '__main__':
    main()
