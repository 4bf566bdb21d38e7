"""From an alpha to a cut-out."""
