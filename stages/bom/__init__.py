"""What an image is made of, and what is known against it: packages, advisories, findings."""
