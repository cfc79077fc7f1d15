"""What a user declares in one TOML file: ``load`` reads it, ``model`` is what the rest sees."""
