"""The programs Weftline is measured beside, installed where they do not touch the project's own environment."""
