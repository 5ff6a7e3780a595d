"""`mmsls merge`, from a checkout."""

from mmsls.commands.merge import main

if __name__ == '__main__':
    main()
