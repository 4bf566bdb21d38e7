"""What becomes of single objects after the net."""
