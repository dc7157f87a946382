"""What is shown, and what may be asked when; knows nothing of Textual."""
