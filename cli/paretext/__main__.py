"""`python -m paretext`."""

from paretext.main import main

if __name__ == "__main__":
    main()
