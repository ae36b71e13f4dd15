"""`python -m tl_export`."""

from tl_export.start import main

if __name__ == "__main__":
    main()
