"""Tests of infra/terraform, none of which reaches a cloud."""
