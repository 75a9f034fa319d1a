"""Ablations: the stack without one of its parts at a time, trained anew and held against the whole one."""
