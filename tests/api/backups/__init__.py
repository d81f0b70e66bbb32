"""Tests of back-ups: taken, checked, and restored."""
