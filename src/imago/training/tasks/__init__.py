"""What differs between tasks: semantic, detection, R-CNN with its stages."""
