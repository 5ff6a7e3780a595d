"""`mmsls predict`, from a checkout."""

from mmsls.commands.predict import main

if __name__ == '__main__':
    main()
