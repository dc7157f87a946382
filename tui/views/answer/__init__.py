"""The lens along the answer: every row at every generated token."""
