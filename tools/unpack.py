"""`mmsls unpack`, from a checkout."""

from mmsls.commands.unpack import main

if __name__ == '__main__':
    main()
