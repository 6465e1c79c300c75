"""`python -m dl_denoise` is the command `dl_denoise`; `accelerate launch -m dl_denoise` starts it several times"""
import sys
from dl_denoise.apps.cli import main

if __name__ == '__main__': sys.exit(main())
