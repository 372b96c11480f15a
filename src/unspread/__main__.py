"""`python -m unspread` is `unspread`."""

from unspread.cli import main

main()
