"""What the model receives for a question, and what each of its tokens is."""
