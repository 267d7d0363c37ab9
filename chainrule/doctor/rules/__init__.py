"""The rules of the doctor, by what they look at; each file enters its own in the table."""
