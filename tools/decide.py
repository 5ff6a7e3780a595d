"""`mmsls decide`, from a checkout."""

from mmsls.commands.decide import main

if __name__ == '__main__':
    main()
