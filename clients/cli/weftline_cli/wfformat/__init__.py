"""Reads WfCommons instances (wfformat) and turns them into workflows of Weftline."""
