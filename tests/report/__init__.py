"""Tests of the views of a judgement."""
