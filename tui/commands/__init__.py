"""What each command besides the explorer does, and how commands end and talk."""
