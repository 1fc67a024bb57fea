"""The command line. It is a program; nothing of it is meant to be imported."""

__all__: list[str] = []
