"""Opening pictures, and what a processor makes of them."""
