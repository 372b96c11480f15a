"""The person's pages: what they say, in which language, and what a browser may do on them."""
