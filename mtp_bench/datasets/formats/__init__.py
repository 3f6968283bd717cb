"""Readers, one per annotation format: files as downloaded in, plain samples out."""
