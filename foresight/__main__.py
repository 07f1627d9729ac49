"""`python -m foresight` is the console script."""

from foresight.cli import main

if __name__ == "__main__":
    main()
