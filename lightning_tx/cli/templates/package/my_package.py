"""Importing this package registers what it adds to lightning_tx."""

from my_package import my_component as my_component
