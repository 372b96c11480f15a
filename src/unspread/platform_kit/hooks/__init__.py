"""Thin pieces that put `/scan` where other software has its hook. Each holds no rule."""
