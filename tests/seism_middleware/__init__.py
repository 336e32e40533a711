"""Tests of what runs in the app's process."""
