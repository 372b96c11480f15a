"""One target, in this process: started by `python -m tests.fuzz`."""

import sys

from tests.fuzz.__main__ import fuzz_one

if __name__ == "__main__":
    fuzz_one(sys.argv[1], int(sys.argv[2]))
