"""The command `dayfly`: a thin layer over the client (HTTP) or, for a server's commands, over app.py."""
