"""Small samples of each annotation format, as faithful as its public description allows, from the synthetic domain.

Tests read them back and compare with the truth that they were written from; people see in them what a format looks
like. Each module writes one family of formats.
"""
