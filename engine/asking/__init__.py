"""Asks one question: from picture and prompt to the finished run."""
