"""`mmsls score`, from a checkout."""

from mmsls.commands.score import main

if __name__ == '__main__':
    main()
