"""What methods find about every item of a sweep by depth: curves over layers or rows, averaged."""
