"""`python -m tokenproxy` is `tokenproxy`."""

from tokenproxy.cli import main

if __name__ == "__main__":
    main()
