"""The staff console: passkeys, roles, four eyes, an audit trail. No fingerprint is ever shown."""
