"""Settings chosen by rules from the data and the free memory."""
