"""`mmsls benchmark`, from a checkout."""

from mmsls.commands.benchmark import main

if __name__ == '__main__':
    main()
