"""Tests of the repository itself: what is built, packaged, documented and deployed agrees with the code."""
