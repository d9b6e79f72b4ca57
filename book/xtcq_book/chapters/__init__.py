"""What single chapters measure and draw."""
