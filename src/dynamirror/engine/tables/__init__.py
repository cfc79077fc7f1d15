"""What a mirror needs of its tables: looking, planning, creating, mending, pricing."""
