"""Foreign text and numbers, made safe and visible."""
