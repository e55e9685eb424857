"""Lines over optimiser steps and over rounds, and the curve doctor: what in them is known to go wrong, and its cure."""
