"""What the model receives for a question, and what its tokens are."""
