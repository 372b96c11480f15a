"""Draft reports for NCMEC's CyberTipline. Filed by a person's decision, never by itself."""
