"""OIDC on the server: the file of issuers and rules, the issuers' keys, and tokens → principals."""
