"""Tests of tasks.pretrain."""
