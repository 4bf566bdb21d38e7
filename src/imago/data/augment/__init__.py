"""How training photos and their labels are changed."""
