"""Files, memory, transfers between devices, and how other libraries talk."""
