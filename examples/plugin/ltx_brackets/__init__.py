"""Importing this package registers what it adds to lightning_tx."""

from ltx_brackets import bilinear as bilinear
from ltx_brackets import brackets as brackets
