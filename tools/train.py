"""`mmsls train`, from a checkout."""

from mmsls.commands.train import main

if __name__ == '__main__':
    main()
