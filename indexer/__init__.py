"""What remembers: photos on disk, the database, the index built from them, and past answers."""
