"""`mmsls refit`, from a checkout."""

from mmsls.commands.refit import main

if __name__ == '__main__':
    main()
