"""Where a position looks: shares per layer, the map over the picture, heads, and knockout."""
