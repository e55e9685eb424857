"""The documentation site: the pages of docs/, beside references that are made from the code. `make docs`"""
