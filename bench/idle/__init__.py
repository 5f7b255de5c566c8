"""What connections cost that nothing is sent over."""
