"""`python -m busredis`."""

from busredis.cli import main

main()
