"""Where in the picture words are readable: the picture under a map, and the rows of one patch."""
