"""What the person's page does, for the command line: submit, status, withdraw."""
