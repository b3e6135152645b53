"""The command `dayfly`: thin. What it does is in the client (over HTTP) or, for a server's commands, in app.py."""
