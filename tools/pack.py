"""`mmsls pack`, from a checkout."""

from mmsls.commands.pack import main

if __name__ == '__main__':
    main()
