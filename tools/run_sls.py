"""`mmsls run`, from a checkout."""

from mmsls.commands.run import main

if __name__ == '__main__':
    main()
