"""The only files that import a host; a config names one in `custom_imports`."""
