"""`python -m timesformer` is `timesformer`."""

from timesformer.cli.main import main

if __name__ == "__main__":
    main()
