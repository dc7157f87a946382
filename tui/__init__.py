"""The terminal side of Lenscope: the command line and the explorer. Never imports torch itself."""
