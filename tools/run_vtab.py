"""`mmsls vtab`, from a checkout."""

from mmsls.commands.vtab import main

if __name__ == '__main__':
    main()
