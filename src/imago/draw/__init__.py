"""Pictures of results: overlays, palettes, charts."""
