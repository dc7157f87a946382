"""The terminal side of Lenscope: the command line and the explorer. It never imports torch
directly."""
