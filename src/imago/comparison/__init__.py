"""Several models on the same images: which is the most accurate, the fastest, the smallest; is the difference real."""
